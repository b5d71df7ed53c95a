#!/usr/bin/env bash
# On a machine with an NVIDIA card: streams, page-locked copies, captured graphs, faults, and how far copies overlap, on the
# real driver. Needs the driver only, no toolkit. Prints the card and the figures; fails if anything is wrong.
set -euo pipefail
cd "$(dirname "$0")/../.."
command -v nvidia-smi >/dev/null && nvidia-smi --query-gpu=name,driver_version,compute_cap,memory.total --format=csv,noheader
VISAGE_CUDA=1 cargo test --release -p visage-kernels --features cuda --test cuda -- --nocapture --test-threads=1 card
