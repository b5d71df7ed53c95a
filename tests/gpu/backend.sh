#!/usr/bin/env bash
# On a machine with an NVIDIA GPU, with the real driver: streams, pinned copies, captured graphs, faults, and the overlap of
# copies; then the GPU backend with a kernel in place of an engine: its contract, batched sessions that replay graphs, the
# times of a step by events, a failed kernel, recovery, and a lost device. Needs only the driver, no toolkit and no TensorRT.
# Prints the GPU and the measurements; fails on the first error.
set -euo pipefail
cd "$(dirname "$0")/../.."
source tests/gpu/programs.sh
export VISAGE_CUDA=1
"$(program visage-kernels cuda cuda)" --nocapture --test-threads=1 real_gpu
"$(program visage cuda backend)" --nocapture --test-threads=1 driver::
