#!/usr/bin/env bash
# On a machine with an NVIDIA GPU: every kernel, compiled by NVRTC for this GPU, against its reference implementation on the CPU
# (1/255 for bytes, 1e-3 for halves, 1e-5 for floats), by the library and by the program. Needs the driver, and NVRTC:
# VISAGE_NVRTC_LIB, or it is fetched as a Python package.
set -euo pipefail
cd "$(dirname "$0")/../.."
source tests/gpu/programs.sh
find_nvrtc
VISAGE_CUDA=1 "$(program visage-kernels cuda kernels)" --nocapture --test-threads=1 real_gpu
visage cuda kernels check --data-dir target/kernels-checked
