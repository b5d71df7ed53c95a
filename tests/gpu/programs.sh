# Sourced by the scripts here, from the root of the sources. Decides what they run: what tests/gpu/unpack.sh put there, or what
# cargo builds.
packed=$PWD/target/gpu
if [ -d "$packed/tensorrt-rtx" ]; then export VISAGE_TENSORRT_LIB=${VISAGE_TENSORRT_LIB:-$packed/tensorrt-rtx}; fi
if [ -d "$packed/nvrtc" ]; then export VISAGE_NVRTC_LIB=${VISAGE_NVRTC_LIB:-$packed/nvrtc}; fi

# The GPU that its driver reports; without one the scripts fail with their own message.
if command -v nvidia-smi >/dev/null; then
    nvidia-smi --query-gpu=name,driver_version,compute_cap,memory.total --format=csv,noheader
fi

# program PACKAGE FEATURES TEST: where a test's program is.
program() {
    local found=$packed/programs/$3
    if [ ! -x "$found" ]; then
        found=$(cargo test --release -p "$1" --features "$2" --test "$3" --no-run --message-format=json |
            sed -n "s/.*\"executable\":\"\([^\"]*\/$3-[0-9a-f]*\)\".*/\1/p" | tail -1)
    fi
    [ -x "$found" ] || { echo "wanted the program of the tests called $3, found none" >&2; exit 1; }
    echo "$found"
}

# visage FEATURES ARGUMENT...: runs the program.
visage() {
    local features=$1
    shift
    if [ -x "$packed/programs/visage" ]; then "$packed/programs/visage" "$@"; else cargo run --release --features "$features" -- "$@"; fi
}

# wheel NAME==VERSION: where a Python package is, fetched if need be.
wheel() {
    local folder=target/gpu-wheels/$1
    [ -d "$folder/env" ] || { python3 -m venv "$folder/env" && "$folder/env/bin/pip" install --quiet --no-deps "$1"; }
    echo "$PWD/$folder"/env/lib/python3*/site-packages
}

find_nvrtc() {
    [ -n "${VISAGE_NVRTC_LIB:-}" ] || VISAGE_NVRTC_LIB=$(wheel nvidia-cuda-nvrtc-cu12==12.9.86)/nvidia/cuda_nvrtc
    export VISAGE_NVRTC_LIB
}

find_tensorrt() {
    [ -n "${VISAGE_TENSORRT_LIB:-}" ] || VISAGE_TENSORRT_LIB=$(wheel tensorrt-rtx-cu13-libs==1.7.1.116)/tensorrt_rtx_libs
    export VISAGE_TENSORRT_LIB
}
