#!/usr/bin/env bash
# On a machine with an NVIDIA GPU: the mouth network compiled for this GPU and run by the backend, compared with the CPU; then
# every graph of the pack on both, and a call with inference on the GPU, with the times of copies and runs. On compute
# capability 9.0, which the support matrix of TensorRT for RTX does not list, the compiler gets the SM of the present GPU; its
# output is printed unchanged.
# Flavour: VISAGE_FLAVOUR=tensorrt-rtx (default) or tensorrt. Library: VISAGE_TENSORRT_LIB, a folder.
set -euo pipefail
cd "$(dirname "$0")/../.."
source tests/gpu/programs.sh
flavour=${VISAGE_FLAVOUR:-tensorrt-rtx}
[ -x "$packed/programs/visage" ] || command -v clang >/dev/null || { echo "wanted clang for the bindings, found none: apt-get install clang libclang-dev" >&2; exit 1; }
[ "$flavour" != tensorrt-rtx ] || find_tensorrt
VISAGE_CUDA=1 "$(program visage "$flavour" backend)" --nocapture --test-threads=1 real::
export VISAGE_DATA_DIR=$PWD/target/gpu-data
visage "$flavour" engines parity
visage "$flavour" bench --backend tensorrt --seconds 10 --json target/gpu-bench.json
