"""Synthesises one voice's share: python synth.py VOICE MINUTES SEED OUT.npz. Odd seeds use held-out texts.

The file holds `pcm` (int16, 16 kHz, utterances joined), `coded` (the same after Opus), `cuts` (utterance borders in samples) and `phones` (json, one list per
utterance of [symbol, start_s, end_s]).
"""
import json
import random
import re
import sys
from math import gcd

import numpy as np
from hibari import Hibari
from scipy.signal import resample_poly

from opus import through_opus
from texts import sentences
from voices import VOICES

RATE = 16000


def main(voice_name, minutes, seed, path):
    voice, g2p, rng = VOICES[voice_name](), Hibari(), random.Random(seed)
    words = sorted(w for w in g2p.g2p.lexicon.golds.d if re.fullmatch(r"[a-z]{3,10}", w))
    pieces, cuts, phones = [], [0], []
    for text in sentences(int(minutes * 40) + 10, seed, words):
        for spoken in g2p.phonemize(text):
            audio, rate, times = voice.say(spoken, rng)
            up, down = RATE // gcd(RATE, rate), rate // gcd(RATE, rate)
            pcm = resample_poly(audio.astype(np.float64), up, down)
            pieces.append((np.clip(pcm / max(1.0, np.abs(pcm).max()), -1, 1) * 32767).astype(np.int16))
            cuts.append(cuts[-1] + len(pieces[-1]))
            phones.append(times)
        if cuts[-1] > minutes * 60 * RATE:
            break
    pcm = np.concatenate(pieces)
    np.savez(path, pcm=pcm, coded=through_opus(pcm, rng), cuts=np.array(cuts), phones=json.dumps(phones, ensure_ascii=False))
    print(f"{voice_name}: {cuts[-1] / RATE / 60:.1f} min, {len(phones)} utterances -> {path}")


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
