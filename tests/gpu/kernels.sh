#!/usr/bin/env bash
# On a machine with an NVIDIA card: every kernel, compiled by NVRTC for the card that is there, against its twin on the CPU
# (1/255 for bytes, 1e-3 for halves, 1e-5 for floats), through the library and through the program. Needs the driver, and
# NVRTC: VISAGE_NVRTC_LIB, or it is fetched as a Python package.
set -euo pipefail
cd "$(dirname "$0")/../.."
command -v nvidia-smi >/dev/null && nvidia-smi --query-gpu=name,driver_version,compute_cap,memory.total --format=csv,noheader
if [ -z "${VISAGE_NVRTC_LIB:-}" ]; then
    python3 -m venv target/nvrtc-env
    target/nvrtc-env/bin/pip install --quiet --no-deps nvidia-cuda-nvrtc-cu12==12.9.86
    VISAGE_NVRTC_LIB=$(echo "$PWD"/target/nvrtc-env/lib/python3*/site-packages/nvidia/cuda_nvrtc)
    export VISAGE_NVRTC_LIB
fi
VISAGE_CUDA=1 cargo test --release -p visage-kernels --features cuda --test kernels -- --nocapture --test-threads=1 card
cargo run --release --features cuda -- kernels check --data-dir target/kernels-checked
