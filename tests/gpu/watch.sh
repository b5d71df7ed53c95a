#!/usr/bin/env bash
# On a machine with an NVIDIA card: what a server reads of each card beside what nvidia-smi says, for ten seconds, and at last
# what visage doctor says of the machine. The two look at different moments, so what moves may differ a little: it fails where
# memory is 256 MiB apart, temperature 5 C, the power limit 1 W, or /metrics says something else than /v1/gpu.
# Starts a server of its own, or asks the one at VISAGE_URL. Needs curl and python3; VISAGE is the program.
set -euo pipefail
cd "$(dirname "$0")/../.."
command -v nvidia-smi >/dev/null || { echo "wanted nvidia-smi, which comes with NVIDIA's driver, found none" >&2; exit 1; }
source tests/gpu/programs.sh
own=${VISAGE:-$packed/programs/visage}
[ -x "$own" ] || { cargo build --release && own=target/release/visage; }
if [ -z "${VISAGE_URL:-}" ]; then
    said=$(mktemp)
    "$own" serve --port 0 --udp-port 0 --json >"$said" &
    trap 'kill $! 2>/dev/null; rm -f "$said"' EXIT
    until [ -s "$said" ]; do kill -0 $!; sleep 0.2; done
    VISAGE_URL=$(python3 -c 'import json, sys; print(json.loads(sys.stdin.readline())["url"])' <"$said")
fi
for _ in $(seq 10); do
    sleep 1
    smi=$(nvidia-smi --query-gpu=index,memory.used,utilization.gpu,temperature.gpu,power.draw,power.limit,clocks.sm,encoder.stats.sessionCount --format=csv,noheader,nounits)
    body=$(curl -fsS "$VISAGE_URL/v1/gpus")
    metrics=$(curl -fsS "$VISAGE_URL/metrics")
    SMI=$smi BODY=$body METRICS=$metrics python3 - <<'PYTHON'
import json, os, re, sys

body = json.loads(os.environ["BODY"])
cards = {card["index"]: card for card in body["gpus"]}
family = re.findall(r'^visage_gpu_temperature_celsius\{gpu="(\d+)"\} (\S+)$', os.environ["METRICS"], re.M)
metrics = {int(index): float(degrees) for index, degrees in family}
wrong = []


def number(text):
    """nvidia-smi prints an unknown value as [N/A] or another word in brackets."""
    return None if text.startswith("[") or text == "N/A" else float(text)


def compare(what, found, wanted, most):
    if (found is None) != (wanted is None) or found is not None and abs(found - wanted) > most:
        wrong.append(f"{what}: {found}, nvidia-smi {wanted}")


for line in os.environ["SMI"].splitlines():
    index, *rest = (part.strip() for part in line.split(","))
    used, busy, degrees, watts, limit, clock, sessions = map(number, rest)
    card = cards.get(int(index))
    if card is None:
        sys.exit(f"wanted card {index} in /v1/gpus, found {sorted(cards)}")
    if card["error"]:
        sys.exit(f"card {index} does not answer: {card['error']}")
    held = card["memory_used_bytes"]
    held = held and held / 2**20
    pairs = {
        "memory MiB": (held and round(held), used), "busy %": (card["utilization_percent"], busy), "C": (card["temperature_c"], degrees),
        "W": (card["power_w"], watts), "limit W": (card["power_limit_w"], limit), "MHz": (card["sm_clock_mhz"], clock),
        "encoder sessions": (card["encoder_sessions"], sessions),
    }
    said = ", ".join(f"{what} {own} | {theirs}" for what, (own, theirs) in pairs.items())
    print(f"card {index}, read {body['reading_age_ms']} ms ago, visage | nvidia-smi: {said}; throttled by {card['throttle_reasons']}")
    compare("memory", held, used, 256)
    compare("temperature", card["temperature_c"], degrees, 5)
    compare("power limit", card["power_limit_w"], limit, 1)
    compare("temperature in /metrics", metrics.get(int(index)), card["temperature_c"], 5)
if wrong:
    sys.exit(f"too far apart: {'; '.join(wrong)}")
PYTHON
done
"$own" doctor --for gpu || true
