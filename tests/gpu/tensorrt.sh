#!/usr/bin/env bash
# On a machine with an NVIDIA card: the mouth's graph compiled for the card that is there and run by the backend, streams,
# replayed graphs and all, beside the CPU. On compute capability 9.0, which NVIDIA's documents of TensorRT for RTX do not
# list, the compiler is told "the card that is here"; what it says is printed as it is.
# Flavour: VISAGE_FLAVOUR=tensorrt-rtx (usual) or tensorrt. Library: VISAGE_TENSORRT_LIB, a folder.
set -euo pipefail
cd "$(dirname "$0")/../.."
command -v clang >/dev/null || { echo "wanted clang for the bindings, found none: apt-get install clang libclang-dev" >&2; exit 1; }
command -v nvidia-smi >/dev/null && nvidia-smi --query-gpu=name,driver_version,compute_cap,memory.total --format=csv,noheader
if [ -z "${VISAGE_TENSORRT_LIB:-}" ] && [ "${VISAGE_FLAVOUR:-tensorrt-rtx}" = tensorrt-rtx ]; then
    python3 -m venv target/tensorrt
    target/tensorrt/bin/pip install --quiet --no-deps tensorrt-rtx-cu13-libs==1.7.1.116
    VISAGE_TENSORRT_LIB=$(echo "$PWD"/target/tensorrt/lib/python3*/site-packages/tensorrt_rtx_libs)
    export VISAGE_TENSORRT_LIB
fi
VISAGE_CUDA=1 cargo test --release --features "${VISAGE_FLAVOUR:-tensorrt-rtx}" --test backend -- --nocapture --test-threads=1 real::
