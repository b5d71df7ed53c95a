"""Measures a network on held-out texts and a held-out voice: python report.py MOUTH.onnx SPEECH_FOLDER [PLOT.png]. Decides the metrics.

Every utterance is streamed through the shipped ONNX graph, step by step, with 0.6 s of silence before and 1 s after it.
"""
import sys

import numpy as np

from augment import DELAY, background, db
from curves import CLOSE, COL, JAW, MOVES
from export import NAMES, Stream
from mel import log_mel
from opus import coded
from speech import load_all

RATE = 16000
PUCKER = COL["mouthPucker"]
SHUT = 0.05                                              # jawOpen - mouthClose below this is a shut mouth
FIRST = [NAMES.index(m if m in NAMES else m + "Left") for m in MOVES]        # one column per movement


def stretch(u, gain_db, snr, rng, bank, kbps=None):
    """(pcm, target weights, target voice) of one utterance in silence or noise, through Opus if a bit rate is given."""
    pcm = np.concatenate([np.zeros(9600), u.pcm, np.zeros(16000)]).astype(np.float32)
    steps = (len(pcm) - 240) // 640
    if snr is not None:
        pcm = pcm + background([bank], len(pcm), rng, snr)
    pcm = np.round(np.clip(pcm * db(gain_db), -1, 1) * 32767)
    pcm = (pcm if kbps is None else coded(pcm.astype(np.int16), kbps)) / 32768
    at = (320 * np.arange(2 * steps) - DELAY - 9600) / 160                    # index into the 100 Hz curves
    pick = lambda c: np.interp(at, np.arange(len(c)), c, left=0, right=0)
    return pcm, np.stack([pick(u.weights[:, k]) for k in range(len(MOVES))], 1), pick(u.voice)


def lips_apart(weights):
    return np.maximum(0, weights[:, JAW] - weights[:, CLOSE])


def closures(target):
    """Runs of outputs where the lips are held shut by p, b or m: pressed, and no further apart than what counts as shut."""
    held = (target[:, MOVES.index("mouthPress")] > 0.12) & (lips_apart(target) < SHUT)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], held, [0]])))
    return list(zip(edges[::2], edges[1::2]))


def onset_lags(target, got):
    """ms by which the jaw's first opening after a silence lags the target's (threshold 0.08)."""
    want, have = np.flatnonzero(target[:, JAW] > 0.08), np.flatnonzero(got[:, JAW] > 0.08)
    return [20 * (have[0] - want[0])] if len(want) and len(have) else []


def best_shift(target, got):
    """ms of delay of the whole jaw curve that fits best."""
    shifts = range(-6, 7)
    fits = [np.corrcoef(target[8:-8, JAW], np.roll(got[:, JAW], -s)[8:-8])[0, 1] for s in shifts]
    return 20 * list(shifts)[int(np.argmax(fits))]


def seen(shut, first):
    """Whether a picture falls on a shut output: pictures take every second output, k = 1 (the odd ones)."""
    return shut[(first + 1) % 2::2].any()


def peak(curve):
    return np.percentile(curve, 95)


def measure(path, bank, condition, noise_bank, seed=5):
    rng, want, have, flags, spoken, lags, shifts, runs = np.random.default_rng(seed), [], [], [], [], [], [], []
    for u in bank:
        pcm, target, voice = stretch(u, *condition[:2], rng, noise_bank, *condition[2:])
        got, flag = Stream(path).all(log_mel(pcm))
        got = got[: len(target), FIRST]
        lags += onset_lags(target, got)
        shifts.append(best_shift(target, got))
        shut = lips_apart(got) < SHUT
        runs += [(shut[a:b], shut[a:b].any(), seen(shut[a:b], a)) for a, b in closures(target)]
        want.append(target); have.append(got); flags.append(flag[: len(voice)]); spoken.append(voice)
    want, have, flags, spoken = (np.concatenate(x) for x in (want, have, flags, spoken))
    near = np.convolve(want.max(1) > 0.004, np.ones(15), "same") > 0          # 140 ms around any wanted movement
    quiet = ~near
    return {
        "corr": [float(np.corrcoef(want[:, k], have[:, k])[0, 1]) if want[:, k].std() > 1e-3 else float("nan") for k in range(len(MOVES))],
        "rmse": np.sqrt(((want - have) ** 2).mean(0)), "closed frames %": 100 * np.mean(np.concatenate([r[0] for r in runs])),
        "closed at some frame %": 100 * np.mean([r[1] for r in runs]), "closures seen %": 100 * np.mean([r[2] for r in runs]), "closures": len(runs),
        "peaks": [peak(have[:, k]) / max(peak(want[:, k]), 1e-3) for k in range(len(MOVES))],
        "false open %": 100 * np.mean(have[quiet, JAW] > 0.08), "any weight > 0.03 in quiet %": 100 * np.mean(have[quiet].max(1) > 0.03),
        "onset lag ms (median)": float(np.median(lags)), "onset lag ms (p10, p90)": (np.percentile(lags, 10), np.percentile(lags, 90)),
        "jaw delay ms (median)": float(np.median(shifts)), "voice flag right %": 100 * np.mean((flags > 0.5) == (spoken > 0.5)),
        "jitter": np.abs(np.diff(have, 2, 0)).mean(), "jitter of targets": np.abs(np.diff(want, 2, 0)).mean(),
    }


def noise_only(path, bank, kind_count=40):
    """Share of frames with an open jaw when nobody speaks: noises of all kinds at 10 to 20 dB under speech."""
    rng, opened, total = np.random.default_rng(11), 0, 0
    for i in range(kind_count):
        pcm = background([bank], 8 * RATE, rng, rng.uniform(10, 20)) * db(rng.uniform(-20, 12))
        got, _ = Stream(path).all(log_mel(np.clip(pcm, -1, 1)))
        opened, total = opened + (got[25:, 0] > 0.08).sum(), total + len(got) - 25
    return 100 * opened / total


def row(name, m):
    print(f"| {name} | {m['corr'][JAW]:.3f} | {np.nanmean(m['corr']):.3f} | {m['rmse'][JAW]:.3f} | {m['closed frames %']:.1f} | {m['closed at some frame %']:.1f} | {m['closures seen %']:.1f} "
          f"| {m['false open %']:.2f} | {m['any weight > 0.03 in quiet %']:.1f} | {m['onset lag ms (median)']:.0f} ({m['onset lag ms (p10, p90)'][0]:.0f}..{m['onset lag ms (p10, p90)'][1]:.0f}) "
          f"| {m['jaw delay ms (median)']:.0f} | {m['voice flag right %']:.1f} | {m['jitter']:.4f} / {m['jitter of targets']:.4f} "
          f"| {m['peaks'][JAW]:.2f} | {m['peaks'][PUCKER]:.2f} |", flush=True)


def plot(path, banks, image):
    import matplotlib
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    shown = ["jawOpen", "mouthClose", "mouthPucker", "mouthFunnel", "mouthPress", "mouthRollLower", "mouthStretch"]
    fig, axes = plt.subplots(len(shown), len(banks), figsize=(9 * len(banks), 2 * len(shown)), squeeze=False)
    for c, (name, bank) in enumerate(banks.items()):
        pcm, target, _ = stretch(bank[2], 0, 20, np.random.default_rng(1), bank)
        got = Stream(path).all(log_mel(pcm))[0][: len(target), FIRST][:250]
        for r, move in enumerate(shown):
            k = MOVES.index(move)
            axes[r, c].plot(np.arange(len(got)) / 50, target[: len(got), k], "k", lw=1)
            axes[r, c].plot(np.arange(len(got)) / 50, got[:, k], "r", lw=1)
            axes[r, c].set_title(f"{name} {move}", fontsize=8)
    plt.tight_layout()
    plt.savefig(image, dpi=55)


def main(path, folder, image=None):
    banks = load_all(folder, held=True)
    print("| held-out set | jaw corr | mean corr | jaw RMSE | closed frames % | closures reached % | closures seen % | false open % | any > .03 in quiet % | onset lag ms (p10..p90) "
          "| jaw delay ms | voice flag % | jitter / target | jaw p95 ratio | pucker p95 ratio |\n|---" + "|---" * 14 + "|")
    conditions = [("clean", 0, None), ("-20 dB", -20, None), ("+12 dB", 12, None), ("SNR 20", 0, 20), ("SNR 10", 0, 10), ("SNR 15, -20 dB", -20, 15),
                  ("SNR 20, Opus 16 kbit/s", 0, 20, 16)]
    for name, bank in banks.items():
        for label, *condition in conditions:
            m = measure(path, bank, condition, banks["heart_held"])
            row(f"{name.split('_')[0]}, {label}", m)
            if label == "clean":
                detail = "; ".join(f"{n} {c:.2f}/{e:.3f}/{p:.2f}" for n, c, e, p in zip(MOVES, m["corr"], m["rmse"], m["peaks"]))
                print(f"<!-- {name} corr/rmse/p95 ratio: {detail}; {m['closures']} closures -->", flush=True)
    print(f"\nnoise only: jaw open in {noise_only(path, banks['heart_held']):.2f} % of frames")
    if image:
        plot(path, banks, image)


if __name__ == "__main__":
    main(*sys.argv[1:])
