# Sourced by the scripts of this folder, in the repository root. Decides which programs they run: those that tests/gpu/unpack.sh
# extracted, or else those that cargo builds.
packed=$PWD/target/gpu
if [ -d "$packed/tensorrt-rtx" ]; then export VISAGE_TENSORRT_LIB=${VISAGE_TENSORRT_LIB:-$packed/tensorrt-rtx}; fi
if [ -d "$packed/nvrtc" ]; then export VISAGE_NVRTC_LIB=${VISAGE_NVRTC_LIB:-$packed/nvrtc}; fi

# Prints the GPU; without one the scripts fail with their own message.
if command -v nvidia-smi >/dev/null; then
    nvidia-smi --query-gpu=name,driver_version,compute_cap,memory.total --format=csv,noheader
fi

# program PACKAGE FEATURES TEST: prints the path of a test's executable.
program() {
    local found=$packed/programs/$3
    if [ ! -x "$found" ]; then
        found=$(cargo test --release -p "$1" --features "$2" --test "$3" --no-run --message-format=json |
            sed -n "s/.*\"executable\":\"\([^\"]*\/$3-[0-9a-f]*\)\".*/\1/p" | tail -1)
    fi
    [ -x "$found" ] || { echo "no executable of the test $3" >&2; exit 1; }
    echo "$found"
}

# visage FEATURES ARGUMENT...: runs the program.
visage() {
    local features=$1
    shift
    if [ -x "$packed/programs/visage" ]; then "$packed/programs/visage" "$@"; else cargo run --release --features "$features" -- "$@"; fi
}

# wheel NAME==VERSION: prints the path of a Python package, which is downloaded if necessary.
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
