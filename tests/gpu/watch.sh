#!/usr/bin/env bash
# On a machine with an NVIDIA card: what the server reads of each card beside what nvidia-smi says, for ten seconds. The two
# look at different moments, so what moves may differ a little: it fails where memory is 256 MiB apart, temperature 5 C.
# Needs a server that runs (visage serve), curl and python3. VISAGE_URL is where it answers.
set -euo pipefail
url=${VISAGE_URL:-http://127.0.0.1:8010}
for _ in $(seq 10); do
    smi=$(nvidia-smi --query-gpu=index,memory.used,memory.total,utilization.gpu,temperature.gpu,power.draw,clocks.sm --format=csv,noheader,nounits)
    told=$(curl -fsS "$url/v1/gpu")
    SMI=$smi TOLD=$told python3 - <<'PYTHON'
import json, os, sys
told = json.loads(os.environ["TOLD"])
cards = {card["index"]: card for card in told["cards"]}
wrong = []
for line in os.environ["SMI"].splitlines():
    index, used, total, busy, degrees, watts, clock = [part.strip() for part in line.split(",")]
    card = cards.get(int(index))
    if card is None:
        sys.exit(f"wanted card {index} in /v1/gpu, found {sorted(cards)}")
    mib = lambda size: "-" if size is None else round(size / 2**20)
    print(f"gpu {index}, read {told['read_ms_ago']} ms ago, server | nvidia-smi: memory {mib(card['memory_used_bytes'])} | {used} of {total} MiB, "
          f"busy {card['busy_percent']} | {busy} %, {card['temperature_c']} | {degrees} C, {card['power_w']} | {watts} W, {card['sm_clock_mhz']} | {clock} MHz, "
          f"encoder sessions {card['encoder_sessions']}, slowed by {card['slowed_by']}")
    if abs(mib(card["memory_used_bytes"]) - float(used)) > 256:
        wrong.append("memory")
    if abs(card["temperature_c"] - float(degrees)) > 5:
        wrong.append("temperature")
if wrong:
    sys.exit(f"too far apart: {wrong}")
PYTHON
    sleep 1
done
