#!/usr/bin/env bash
# On a machine with an NVIDIA GPU and the CUDA toolkit: driver calls and all kernels under compute-sanitizer, which must report
# no error. The test that injects a fault is skipped.
set -euo pipefail
cd "$(dirname "$0")/../.."
source tests/gpu/programs.sh
command -v compute-sanitizer >/dev/null || { echo "wanted compute-sanitizer of the CUDA toolkit (12.8 or newer), found none in PATH" >&2; exit 1; }
find_nvrtc
export VISAGE_CUDA=1 VISAGE_CUDA_UNBROKEN=1
for test in cuda kernels; do
    binary=$(program visage-kernels cuda $test)
    for tool in memcheck racecheck initcheck synccheck; do
        echo "== $test under $tool"
        compute-sanitizer --tool "$tool" --error-exitcode 9 --leak-check "$([ $tool = memcheck ] && echo full || echo no)" \
            "$binary" --nocapture --test-threads=1 real_gpu
    done
done
