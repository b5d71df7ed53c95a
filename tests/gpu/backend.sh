#!/usr/bin/env bash
# On a machine with an NVIDIA card, on the real driver: streams, page-locked copies, captured graphs, faults, and how far copies
# overlap; then the backend itself over a kernel of our own in place of an engine: its contract, shows in step whose runs are
# replays, the times of a step by events, a failed kernel, the device opened anew, and lost for good. Needs the driver only, no
# toolkit and no TensorRT. Prints the card and the figures; fails if anything is wrong.
set -euo pipefail
cd "$(dirname "$0")/../.."
source tests/gpu/programs.sh
export VISAGE_CUDA=1
"$(program visage-kernels cuda cuda)" --nocapture --test-threads=1 card
"$(program visage cuda backend)" --nocapture --test-threads=1 driver::
