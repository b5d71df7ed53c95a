"""The synthesised speech as a bank of utterances with their mouth curves. Decides which times are believed."""
import glob
import json
import os

import numpy as np

from curves import curves, tidy

RATE = 16000
# The networks' durations lag their own sound (measured on band energies around token starts): seconds to take off.
LAG = {"heart": 0.065, "women": 0.065, "kumo": 0.065, "joe": 0.025}


def loudness_of(pcm):
    """Scale of the jaw over time, 0.85..1.12, from the utterance's own slow level."""
    frames = pcm[: len(pcm) // 320 * 320].reshape(-1, 320)
    level = np.sqrt((frames ** 2).mean(1) + 1e-9)
    slow = np.convolve(level, np.ones(9) / 9, "same")
    loud = slow / (np.percentile(slow, 80) + 1e-6)
    scale = np.clip(0.82 + 0.25 * loud, 0.85, 1.12)
    return lambda t: np.interp(t, (np.arange(len(scale)) + 0.5) * 0.02, scale)


def trimmed(phones, pcm):
    """The first and last phoneme of every stretch of sound often reach into the silence around it: they end where the sound does."""
    frames = pcm[: len(pcm) // 160 * 160].reshape(-1, 160)
    loud = np.sqrt((frames ** 2).mean(1)) > 0.0011               # 36 dB under nominal speech
    out = [list(p) for p in phones]
    for i, p in enumerate(out):
        if p[0] == "_":
            continue
        heard = np.flatnonzero(loud[int(p[1] * 100): int(np.ceil(p[2] * 100))])
        if len(heard) and (i + 1 == len(out) or out[i + 1][0] == "_"):
            p[2] = min(p[2], p[1] + (heard[-1] + 2) / 100)
            if i + 1 < len(out):
                out[i + 1][1] = p[2]
        if len(heard) and p[0] not in "pbtdkɡ" and (i == 0 or out[i - 1][0] == "_"):
            p[1] = max(p[1], int(p[1] * 100) / 100 + (heard[0] - 1) / 100)
            if i:
                out[i - 1][2] = p[1]
    return [tuple(p) for p in out]


class Utterance:
    def __init__(self, pcm, phones):
        self.pcm, self.phones = pcm, trimmed(phones, pcm)
        self.weights, self.voice = curves(self.phones, len(pcm) / RATE, loudness_of(pcm))


def load(path):
    name = os.path.basename(path).split("_")[0].split(".")[0]
    with np.load(path) as z:
        pcm, cuts, spoken = z["pcm"], z["cuts"], json.loads(str(z["phones"]))
    aligned = path.replace(".npz", ".aligned.json")
    times = json.load(open(aligned)) if os.path.exists(aligned) else None
    bank = []
    for i, raw in enumerate(spoken):
        sound = pcm[cuts[i]:cuts[i + 1]].astype(np.float32) / 32768
        if times is not None:
            phones = [tuple(p) for p in times[i]]
        else:
            phones = tidy([(s, max(0.0, a - LAG[name]), max(0.0, b - LAG[name])) for s, a, b in raw])
        loud = sound[np.abs(sound) > 0.01]
        sound *= 10 ** (-23 / 20) / (np.sqrt((loud ** 2).mean()) + 1e-6) if len(loud) else 1.0
        bank.append(Utterance(sound, phones))
    return bank


def load_all(folder, held):
    """{voice file: [Utterance]}; `held` picks the held-out files or the rest."""
    paths = sorted(p for p in glob.glob(f"{folder}/*.npz") if ("_held" in p) == held)
    return {os.path.basename(p)[:-4]: load(p) for p in paths}
