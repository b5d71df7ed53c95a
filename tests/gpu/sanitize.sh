#!/usr/bin/env bash
# On a machine with an NVIDIA card and the CUDA toolkit: the same calls and all kernels under compute-sanitizer, which must find
# nothing in what is to work. The test that breaks a kernel on purpose is left out.
set -euo pipefail
cd "$(dirname "$0")/../.."
command -v compute-sanitizer >/dev/null || { echo "wanted compute-sanitizer of the CUDA toolkit (12.8 or newer), found none in PATH" >&2; exit 1; }
if [ -z "${VISAGE_NVRTC_LIB:-}" ]; then
    python3 -m venv target/nvrtc-env
    target/nvrtc-env/bin/pip install --quiet --no-deps nvidia-cuda-nvrtc-cu12==12.9.86
    VISAGE_NVRTC_LIB=$(echo "$PWD"/target/nvrtc-env/lib/python3*/site-packages/nvidia/cuda_nvrtc)
    export VISAGE_NVRTC_LIB
fi
for test in cuda kernels; do
    binary=$(cargo test --release -p visage-kernels --features cuda --test $test --no-run --message-format=json |
        sed -n "s/.*\"executable\":\"\([^\"]*\/$test-[0-9a-f]*\)\".*/\1/p" | tail -1)
    [ -x "$binary" ] || { echo "wanted the program of the tests called $test, found none" >&2; exit 1; }
    for tool in memcheck racecheck initcheck synccheck; do
        echo "== $test under $tool"
        VISAGE_CUDA=1 VISAGE_CUDA_UNBROKEN=1 compute-sanitizer --tool "$tool" --error-exitcode 9 \
            --leak-check "$([ $tool = memcheck ] && echo full || echo no)" "$binary" --nocapture --test-threads=1 card
    done
done
