#!/usr/bin/env bash
# On a machine with an NVIDIA card: what the server reads of the card beside what nvidia-smi says, for ten seconds.
# Needs a server that runs: visage serve. VISAGE_URL is where it answers.
set -euo pipefail
url=${VISAGE_URL:-http://127.0.0.1:8080}
for _ in $(seq 10); do
    nvidia-smi --query-gpu=memory.used,utilization.gpu,temperature.gpu,power.draw,clocks.sm --format=csv,noheader
    curl -fsS "$url/v1/gpu"
    echo
    sleep 1
done
