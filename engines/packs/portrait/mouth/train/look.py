"""Draws what a network does with recordings: python look.py OUT.png MOUTH.onnx [OTHER.onnx ...] -- VOICE.wav ... Decides nothing.

Above, the log-mel; below, envelope (grey), jawOpen (black), the lips' distance jawOpen - mouthClose (red; shut under the dotted line), mouthPucker
(blue), all at the sample they stand for. Dots are the moments that pictures at 25 a second take.
"""
import sys
import wave
from math import gcd

import matplotlib
import numpy as np
from scipy.signal import resample_poly

from augment import DELAY
from curves import COL, JAW
from export import Stream
from mel import RATE, log_mel
from report import FIRST, SHUT, lips_apart

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402  (after the choice of canvas)


def recording(path):
    """Mono samples at 16 kHz with half a second of silence on both sides."""
    with wave.open(path) as w:
        pcm = np.frombuffer(w.readframes(w.getnframes()), "<i2").reshape(-1, w.getnchannels()).mean(1) / 32768
        rate = w.getframerate()
    pcm = resample_poly(pcm, RATE // gcd(RATE, rate), rate // gcd(RATE, rate))
    return np.concatenate([np.zeros(RATE // 2), pcm, np.zeros(RATE)]).astype(np.float32)


def column(axes, pcm, moves):
    seconds = len(pcm) / RATE
    level = np.sqrt(np.convolve(pcm ** 2, np.ones(320) / 320, "same"))
    at = (320 * np.arange(len(moves)) - DELAY) / RATE
    axes[0].imshow(log_mel(pcm).T, origin="lower", aspect="auto", extent=(0, seconds, 0, 1), vmin=-11, vmax=3)
    axes[1].fill_between(np.arange(len(pcm)) / RATE, level / level.max() * 0.6, color="0.87")
    axes[1].plot(at, moves[:, JAW], "k", lw=1)
    axes[1].plot(at, lips_apart(moves), "r.-", lw=1, ms=0)
    axes[1].plot(at[1::2], lips_apart(moves)[1::2], "r.", ms=3)
    axes[1].plot(at, moves[:, COL["mouthPucker"]], "b", lw=1)
    axes[1].axhline(SHUT, color="r", ls=":", lw=0.6)
    axes[1].set_ylim(0, 0.7)
    for a in axes:
        a.set_xlim(0, seconds)
        a.set_xticks(np.arange(0, seconds, 0.2), minor=True)


def main(image, *rest):
    nets, voices = rest[:rest.index("--")], rest[rest.index("--") + 1:]
    fig, axes = plt.subplots(2 * len(nets) * len(voices), 1, figsize=(18, 5 * len(nets) * len(voices)), squeeze=False)
    pairs = [(v, n) for v in voices for n in nets]
    for i, (voice, net) in enumerate(pairs):
        pcm = recording(voice)
        moves = Stream(net).all(log_mel(pcm))[0][:, FIRST]
        column(axes[2 * i:2 * i + 2, 0], pcm, moves)
        axes[2 * i, 0].set_title(f"{voice}  {net}", fontsize=8)
    plt.tight_layout()
    plt.savefig(image, dpi=60)


if __name__ == "__main__":
    main(*sys.argv[1:])
