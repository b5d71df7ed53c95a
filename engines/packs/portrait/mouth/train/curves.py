"""Phoneme times -> ARKit mouth curves at 100 Hz. Decides what a sound looks like; nothing about how it is heard.

Recipe: every phoneme has a target pose and, per weight, a dominance (how much it insists). Around its middle the dominance is flat, outside
it falls off; a curve is the dominance-weighted mean of all targets (Cohen & Massaro 1993), drawn 35 ms before the sound because
lips move first. Then three hard gestures are laid over it: lips shut for p b m, lower lip under the teeth for f v, and a
shut mouth in silence. Times are seconds; curves[i] is the mouth at i / 100 s.
"""
import numpy as np
from scipy.ndimage import gaussian_filter1d

RATE = 100
# One column per face movement; pairs (Left, Right) move together.
MOVES = ["jawOpen", "mouthClose", "mouthFunnel", "mouthPucker", "mouthSmile", "mouthStretch", "mouthRollLower", "mouthRollUpper",
         "mouthShrugLower", "mouthPress", "mouthLowerDown", "mouthUpperUp", "tongueOut"]
COL = {name: i for i, name in enumerate(MOVES)}
JAW, CLOSE = COL["jawOpen"], COL["mouthClose"]
SHORT = dict(J="jawOpen", F="mouthFunnel", P="mouthPucker", S="mouthSmile", T="mouthStretch", RL="mouthRollLower", RU="mouthRollUpper",
             SL="mouthShrugLower", PR="mouthPress", LD="mouthLowerDown", UU="mouthUpperUp", TO="tongueOut")

# pose, then dominance of jaw, of lip rounding and spreading (F P S T), of the rest, then fall-off in seconds
VOWEL, GLIDE, NARROW, WEAK, ROUND = (1.0, 1.0, 1.0, 0.055), (0.7, 0.9, 0.8, 0.05), (1.6, 0.45, 0.9, 0.04), (0.35, 0.15, 0.4, 0.035), (1.3, 1.6, 1.2, 0.05)
POSES = {
    "ɑa":    (dict(J=.55, LD=.16, UU=.06), VOWEL),
    "æ":     (dict(J=.48, S=.10, T=.14, LD=.20, UU=.12), VOWEL),
    "ʌɐ":    (dict(J=.36, LD=.12, UU=.04), VOWEL),
    "ə":     (dict(J=.22, LD=.10), (0.5, 0.5, 0.5, 0.045)),
    "ɛe":    (dict(J=.36, S=.12, T=.14, LD=.18, UU=.08), VOWEL),
    "ɪɨᵻ":   (dict(J=.22, S=.14, T=.14, LD=.14, UU=.03), (0.8, 0.8, 0.8, 0.05)),
    "i":     (dict(J=.13, S=.28, T=.24, LD=.14, UU=.05), VOWEL),
    "ɔɒ":    (dict(J=.46, F=.34, P=.12, LD=.05), VOWEL),
    "o":     (dict(J=.36, F=.40, P=.26), VOWEL),
    "ʊ":     (dict(J=.20, F=.26, P=.34), VOWEL),
    "u":     (dict(J=.14, F=.20, P=.60), VOWEL),
    "w":     (dict(J=.10, F=.16, P=.66), ROUND),
    "ɜɚ":    (dict(J=.22, F=.26, P=.16, LD=.06), VOWEL),
    "ɹr":    (dict(J=.16, F=.30, P=.20), (0.8, 0.9, 0.7, 0.045)),
    "j":     (dict(J=.12, S=.24, T=.20, LD=.12), GLIDE),
    "tdnɾ":  (dict(J=.13, S=.03, T=.04, LD=.12, UU=.05), (0.9, 0.18, 0.5, 0.035)),
    "l":     (dict(J=.20, TO=.05, LD=.12, UU=.03), (0.7, 0.25, 0.6, 0.04)),
    "sz":    (dict(J=.06, S=.10, T=.20, LD=.20, UU=.10), NARROW),
    "ʃʒ":    (dict(J=.08, F=.50, P=.16, LD=.10, UU=.10), (1.6, 1.5, 1.0, 0.045)),
    "θð":    (dict(J=.13, TO=.24, LD=.12, UU=.04), (1.3, 0.3, 1.4, 0.035)),
    "kɡŋx":  (dict(J=.20, LD=.06), WEAK),
    "hʔ":    (dict(J=.25, LD=.06), (0.15, 0.1, 0.2, 0.03)),
    "fv":    (dict(J=.08), (1.2, 0.3, 0.6, 0.04)),
    "pbm":   (dict(J=.06), (0.9, 0.15, 0.8, 0.04)),
}
PAIRS = {"A": "eɪ", "I": "aɪ", "W": "aʊ", "Y": "ɔɪ", "O": "oʊ", "Q": "əʊ", "ʧ": "tʃ", "ʤ": "dʒ", "ʣ": "dz", "ʦ": "ts", "ʨ": "tʃ", "ʥ": "dʒ"}
SINGLE = {"T": "ɾ", "ᵊ": "ə", "g": "ɡ", "ɫ": "l", "ɕ": "ʃ", "ɯ": "u", "ɴ": "n"}
STRESS = {"ˈ": 1.1, "ˌ": 1.0}
VOICELESS_JAW = 0.78                                     # scale of an unstressed vowel's jaw
VOWELS = set("ɑaæʌɐəɛeɪɨᵻiɔɒoʊuɜɚ")


def dominance(kind):
    jaw, lips, rest, _ = kind
    row = np.full(len(MOVES), rest)
    row[JAW] = jaw
    row[[COL[SHORT[k]] for k in "FPST"]] = lips
    return row


def pose_row(pose):
    row = np.zeros(len(MOVES))
    for short, value in pose.items():
        row[COL[SHORT[short]]] = value
    return row


TABLE = {c: (pose_row(pose), dominance(kind), kind[3]) for chars, (pose, kind) in POSES.items() for c in chars}
SILENT = "_^$,.;:!?—…\"()“”'- "


def tidy(times):
    """TTS symbols -> [(phone, start, end, stress)]: marks join the sound they belong to, diphthongs and affricates split, short gaps close."""
    out, stress = [], 0.78
    pending = None                                       # start of a stress mark, given to the next sound
    for symbol, start, end in times:
        if symbol in STRESS:
            stress, pending = STRESS[symbol], start if pending is None else pending
        elif symbol in "+ːʰʲ̃" and out:
            out[-1][2] = end
        elif symbol in SILENT:
            out.append(["_", start, end, 1.0])
            pending = None
        else:
            start = start if pending is None else pending
            pending = None
            symbol = SINGLE.get(symbol, symbol)
            parts = [c for c in PAIRS.get(symbol, symbol) if c in TABLE]
            share = {2: (0.55, 0.45)}.get(len(parts), (1.0,))
            at = start
            for c, part in zip(parts, share):
                level = stress if c in VOWELS else 1.0
                out.append([c, at, at + part * (end - start), level])
                at += part * (end - start)
            if any(c in VOWELS for c in parts):
                stress = 0.78
    return close_gaps(out)


def close_gaps(phones):
    """Silences under 90 ms inside speech are word borders: each half goes to a neighbour."""
    joined = []
    for p in phones:
        if p[0] == "_" and joined and joined[-1][0] == "_":
            joined[-1][2] = p[2]
        else:
            joined.append(list(p))
    kept = []
    for i, p in enumerate(joined):
        inside = 0 < i < len(joined) - 1
        if p[0] == "_" and inside and p[2] - p[1] < 0.09:
            middle = (p[1] + p[2]) / 2
            kept[-1][2] = middle
            joined[i + 1][1] = middle
        else:
            kept.append(p)
    return [tuple(p) for p in kept]


def ramp(x):
    x = np.clip(x, 0.0, 1.0)
    return x * x * (3 - 2 * x)


def plateau(t, start, end, rise, fall):
    """1 on [start, end], smooth sides."""
    return ramp((t - start) / rise + 1) * ramp((end - t) / fall + 1)


def at_least(start, end, length):
    lack = max(0.0, length - (end - start)) / 2
    return start - lack, end + lack


def blend(phones, t):
    """Dominance-weighted mean of all poses."""
    top, bottom = np.zeros((len(t), len(MOVES))), np.full((len(t), len(MOVES)), 1e-3)
    for c, start, end, stress in phones:
        pose, insist, fall = (np.zeros(len(MOVES)), np.full(len(MOVES), 0.8), 0.05) if c == "_" else TABLE[c]
        reach = fall * 8
        lo, hi = np.searchsorted(t, [start - reach, end + reach])
        half = (end - start) / 2
        away = np.maximum(0.0, np.abs(t[lo:hi] - (start + half)) - 0.6 * half)
        weight = np.exp(-(away / fall) ** 1.4)[:, None] * insist
        scaled = pose.copy()
        if c in VOWELS:
            scaled[JAW] *= stress
        top[lo:hi] += weight * scaled
        bottom[lo:hi] += weight
    return top / bottom


def gestures(curves, phones, t):
    """Lip closures and labiodentals, which no average may soften."""
    for c, start, end, _ in phones:
        if c in "pbm":
            a, b = at_least(start + 0.002, end - (0.010 if c == "m" else 0.2 * (end - start)), 0.070)
            w = plateau(t, a - 0.010, b - 0.005, 0.065, 0.060)[:, None]
            shut = np.zeros_like(curves)
            shut[:, JAW] = np.minimum(0.08, 0.25 * curves[:, JAW])
            shut[:, CLOSE] = shut[:, JAW]
            press, roll = (0.24, 0.16) if c != "m" else (0.16, 0.12)
            shut[:, COL["mouthPress"]] = press
            shut[:, COL["mouthRollLower"]] = roll
            shut[:, COL["mouthRollUpper"]] = roll
            shut[:, COL["mouthPucker"]] = 0.5 * curves[:, COL["mouthPucker"]]
            shut[:, COL["mouthSmile"]] = 0.5 * curves[:, COL["mouthSmile"]]
            curves = curves * (1 - w) + shut * w
        elif c in "fv":
            a, b = at_least(start, end - 0.005, 0.060)
            w = plateau(t, a - 0.010, b - 0.005, 0.065, 0.060)[:, None]
            tuck = curves * 0.4
            tuck[:, JAW] = np.minimum(0.07, curves[:, JAW])
            tuck[:, COL["mouthRollLower"]], tuck[:, COL["mouthUpperUp"]], tuck[:, COL["mouthLowerDown"]] = 0.42, 0.20, 0.0
            curves = curves * (1 - w) + tuck * w
    return curves


def speaking(phones, t, early, late):
    """1 while someone speaks, opening `early` before and shutting `late` after each stretch of sound; pauses under 180 ms do not count."""
    gate, start, end = np.zeros(len(t)), None, None
    spans = [[s, e] for c, s, e, _ in phones if c != "_"]
    merged = []
    for s, e in spans:
        if merged and s - merged[-1][1] < 0.18:
            merged[-1][1] = e
        else:
            merged.append([s, e])
    for s, e in merged:
        gate = np.maximum(gate, plateau(t, s, e, early, late))
    return gate


ANTICIPATE = 0.035


def curves(phones, seconds, loudness=None):
    """-> ([n, 13] weights, [n] speaking) for n = seconds * 100. `loudness`: f(t) -> scale of the jaw, about 1."""
    t = np.arange(int(round(seconds * RATE))) / RATE
    soft = blend(phones, t + ANTICIPATE)
    if loudness is not None:
        soft[:, JAW] *= loudness(t + ANTICIPATE)
    soft = gaussian_filter1d(soft, 1.5, axis=0, mode="nearest")
    shaped = gestures(soft, phones, t)
    gate = speaking(phones, t, 0.060, 0.100)
    return (shaped * gate[:, None]).astype(np.float32), speaking(phones, t, 0.02, 0.02).astype(np.float32)
