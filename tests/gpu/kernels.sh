#!/usr/bin/env bash
# On a machine with an NVIDIA card: every kernel, compiled by NVRTC for the card that is there, against its twin on the CPU
# (1/255 for bytes, 1e-3 for halves, 1e-5 for floats), through the library and through the program. Needs the driver, and
# NVRTC: VISAGE_NVRTC_LIB, or it is fetched as a Python package.
set -euo pipefail
cd "$(dirname "$0")/../.."
source tests/gpu/programs.sh
find_nvrtc
VISAGE_CUDA=1 "$(program visage-kernels cuda kernels)" --nocapture --test-threads=1 card
visage cuda kernels check --data-dir target/kernels-checked
