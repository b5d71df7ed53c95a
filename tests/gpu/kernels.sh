#!/usr/bin/env bash
# On a machine with an NVIDIA GPU: every kernel, compiled by NVRTC for this GPU, against its reference implementation on the CPU
# (1/255 for bytes, 1e-3 for halves, 1e-5 for floats), by the test and by `visage kernels check`. Needs the driver, and NVRTC:
# VISAGE_NVRTC_LIB, else a Python package is downloaded.
set -euo pipefail
cd "$(dirname "$0")/../.."
source tests/gpu/programs.sh
find_nvrtc
VISAGE_CUDA=1 "$(program visage-kernels cuda kernels)" --nocapture --test-threads=1 real_gpu
visage cuda kernels check --data-dir target/kernels-checked
