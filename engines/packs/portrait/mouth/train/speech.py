"""The synthesised speech as a bank of utterances with their mouth curves. Decides which times are believed."""
import glob
import json
import os

import numpy as np

from curves import VOWELS, curves, tidy

RATE = 16000
# The networks' durations lag their own sound: seconds to take off where the named sounds begin and end, measured as the steepest change of
# band energy around their tokens between vowels ("": all others). Piper's blanks make that differ from sound to sound.
EVEN = {"": (0.060, 0.060)}
LAG = {"heart": EVEN, "strangers": EVEN, "women": EVEN, "kumo": EVEN,
       "joe": {"": (0.045, 0.045), "pbm": (0.050, 0.040), "tdkɡnŋ": (0.045, 0.035), "szʃʒ": (0.025, 0.005)}}


def lag_of(table, symbol, edge):
    return next((lag for sounds, lag in table.items() if sounds and symbol in sounds), table[""])[edge]


def placed(phones, table):
    """Every border between two phonemes moved to where it is heard: consonants say where, vowels and silence follow."""
    starts, at = [max(0.0, phones[0][1] - table[""][0])] if phones else [], 0.0
    for before, after in zip(phones, phones[1:]):
        said = [lag_of(table, p[0], edge) for p, edge in ((before, 1), (after, 0)) if p[0] not in VOWELS and p[0] != "_"]
        at = max(starts[-1] + 0.01, after[1] - (np.mean(said) if said else table[""][0]))
        starts.append(at)
    ends = starts[1:] + [max(at + 0.01, p[2] - table[""][1]) for p in phones[-1:]]
    return [(c, a, b, stress) for (c, _, _, stress), a, b in zip(phones, starts, ends)]


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
    """Sound, the same sound after Opus, and the mouth that says it."""
    def __init__(self, pcm, coded, phones):
        self.pcm, self.coded, self.phones = pcm, coded, trimmed(phones, pcm)
        self.weights, self.voice = curves(self.phones, len(pcm) / RATE, loudness_of(pcm))


def load(path):
    name = os.path.basename(path).split("_")[0].split(".")[0]
    with np.load(path) as z:
        pcm, coded, cuts, spoken = z["pcm"], z["coded"], z["cuts"], json.loads(str(z["phones"]))
    bank = []
    for i, raw in enumerate(spoken):
        sound, heard = (x[cuts[i]:cuts[i + 1]].astype(np.float32) / 32768 for x in (pcm, coded))
        phones = placed(tidy([tuple(times) for times in raw]), LAG[name])
        loud = sound[np.abs(sound) > 0.01]
        gain = 10 ** (-23 / 20) / (np.sqrt((loud ** 2).mean()) + 1e-6) if len(loud) else 1.0
        bank.append(Utterance(sound * np.float32(gain), heard * np.float32(gain), phones))
    return bank


def load_all(folder, held):
    """{voice file: [Utterance]}; `held` picks the held-out files or the rest."""
    paths = sorted(p for p in glob.glob(f"{folder}/*.npz") if ("_held" in p) == held)
    return {os.path.basename(p)[:-4]: load(p) for p in paths}
