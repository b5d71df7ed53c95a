# Sourced by the scripts here, from the root of the sources. Decides what they run: what tests/gpu/unpack.sh put there, or what
# cargo builds.
packed=$PWD/target/gpu
if [ -d "$packed/tensorrt-rtx" ]; then export VISAGE_TENSORRT_LIB=${VISAGE_TENSORRT_LIB:-$packed/tensorrt-rtx}; fi
if [ -d "$packed/nvrtc" ]; then export VISAGE_NVRTC_LIB=${VISAGE_NVRTC_LIB:-$packed/nvrtc}; fi

# The card, as its driver tells it; without one the scripts fail in their own words.
if command -v nvidia-smi >/dev/null; then
    nvidia-smi --query-gpu=name,driver_version,compute_cap,memory.total --format=csv,noheader
fi

# program PACKAGE FEATURES TEST: where a test's program is.
program() {
    if [ -x "$packed/programs/$3" ]; then
        echo "$packed/programs/$3"
    else
        cargo test --release -p "$1" --features "$2" --test "$3" --no-run --message-format=json |
            sed -n "s/.*\"executable\":\"\([^\"]*\/$3-[0-9a-f]*\)\".*/\1/p" | tail -1
    fi
}

# visage FEATURES ARGUMENT...: runs the program.
visage() {
    local features=$1
    shift
    if [ -x "$packed/programs/visage" ]; then "$packed/programs/visage" "$@"; else cargo run --release --features "$features" -- "$@"; fi
}

# wheel NAME==VERSION FOLDER: a Python package's own folder, fetched if need be.
wheel() {
    [ -d "target/gpu-$2" ] || { python3 -m venv "target/gpu-$2" && "target/gpu-$2/bin/pip" install --quiet --no-deps "$1"; }
    echo "$PWD/target/gpu-$2"/lib/python3*/site-packages
}
