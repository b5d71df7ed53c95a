#!/usr/bin/env bash
# On a machine with an NVIDIA GPU: compares a server's readings of each GPU with those of nvidia-smi for ten seconds, then prints
# the findings of visage doctor. The readings are not simultaneous: it fails if memory differs by more than 256 MiB, temperature by
# 5 C, or the power limit by 1 W, or if /metrics differs from /v1/gpus.
# Starts a server, or uses the one at VISAGE_URL. Needs curl and python3; VISAGE is the path of the program.
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
gpus = {gpu["index"]: gpu for gpu in body["gpus"]}
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
    gpu = gpus.get(int(index))
    if gpu is None:
        sys.exit(f"wanted GPU {index} in /v1/gpus, found {sorted(gpus)}")
    if gpu["error"]:
        sys.exit(f"GPU {index} does not respond: {gpu['error']}")
    held = gpu["memory_used_bytes"]
    held = held and held / 2**20
    pairs = {
        "memory MiB": (held and round(held), used), "busy %": (gpu["utilization_percent"], busy), "C": (gpu["temperature_c"], degrees),
        "W": (gpu["power_w"], watts), "limit W": (gpu["power_limit_w"], limit), "MHz": (gpu["sm_clock_mhz"], clock),
        "encoder sessions": (gpu["encoder_sessions"], sessions),
    }
    said = ", ".join(f"{what} {own} | {theirs}" for what, (own, theirs) in pairs.items())
    print(f"GPU {index}, read {body['reading_age_ms']} ms ago, visage | nvidia-smi: {said}; throttled by {gpu['throttle_reasons']}")
    compare("memory", held, used, 256)
    compare("temperature", gpu["temperature_c"], degrees, 5)
    compare("power limit", gpu["power_limit_w"], limit, 1)
    compare("temperature in /metrics", metrics.get(int(index)), gpu["temperature_c"], 5)
if wrong:
    sys.exit(f"readings differ: {'; '.join(wrong)}")
PYTHON
done
"$own" doctor --for gpu || true
