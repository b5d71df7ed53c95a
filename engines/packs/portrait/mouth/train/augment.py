"""Utterances -> what a microphone might deliver. Decides gain, room, noise, pauses; the mouth curves follow every change of time."""
import numpy as np
from scipy import fft
from scipy.signal import resample_poly

from curves import ramp

RATE = 16000
STEPS = 200                                              # 40 ms steps in a segment: 8 s
SAMPLES = STEPS * 640 + 240                              # what the last step consumes ends here
DELAY = 640                                              # output j describes sample 320 j - DELAY
SMOOTH = fft.next_fast_len(SAMPLES, real=True)           # length of all spectra; what wraps around is a few ms


def db(x):
    return 10.0 ** (x / 20.0)


def retuned(u, rng):
    """Straight from the voice or through Opus; pitch and formants together by resampling: (pcm, ratio of time)."""
    pcm = u.coded if rng.random() < 0.4 else u.pcm
    up = int(rng.integers(16, 26)) if rng.random() < 0.75 else 20
    return (pcm, 1.0) if up == 20 else (resample_poly(pcm, up, 20), up / 20)


def lay(pcm, weights, voice, u, at, rng, gain):
    """Adds one utterance at sample `at`, one in eight cut off in the middle; returns where it ends."""
    sound, stretch = retuned(u, rng)
    if rng.random() < 0.12:
        sound = sound[: int(rng.uniform(0.2, 0.95) * len(sound))]
    end = min(len(pcm), at + len(sound))
    pcm[at:end] += gain * sound[: end - at]
    since = (320 * np.arange(len(weights)) - DELAY - at) / RATE
    t = since / stretch * 100                            # curve index of every output
    inside = (t >= 0) & (t <= len(u.weights) - 1)
    i, f = np.floor(t[inside]).astype(int), (t[inside] % 1)[:, None]
    k = np.minimum(i + 1, len(u.weights) - 1)
    over = since[inside] - len(sound) / RATE             # past the sound's end the mouth shuts within 100 ms
    shown = (u.weights[i] * (1 - f) + u.weights[k] * f) * (1 - ramp(over / 0.1))[:, None]
    weights[inside] = np.maximum(weights[inside], shown)
    voice[inside] = np.maximum(voice[inside], u.voice[i] * (over < 0.02))
    return at + len(sound)


def timeline(bank, rng, empty=0.08):
    pcm, weights, voice = np.zeros(SAMPLES, np.float32), np.zeros((2 * STEPS, 13), np.float32), np.zeros(2 * STEPS, np.float32)
    if rng.random() < empty:
        return pcm, weights, voice
    at = -int(rng.uniform(0, 3) * RATE) if rng.random() < 0.3 else int(rng.uniform(0, 1) * RATE)
    speaker = bank[rng.integers(len(bank))]
    while at < SAMPLES:
        u = speaker[rng.integers(len(speaker))]
        if at < 0:                                       # begin in the middle of a sentence
            cut = min(-at, max(0, len(u.pcm) - RATE))
            u, at = Cut(u, cut), 0
        at = lay(pcm, weights, voice, u, at, rng, db(rng.uniform(-5, 3)))
        at += int((rng.uniform(0, 0.5) if rng.random() < 0.6 else rng.uniform(0.5, 3.0)) * RATE)
    return pcm, weights, voice


class Cut:
    """The rest of an utterance from a sample on."""
    def __init__(self, u, cut):
        cut = cut // 160 * 160
        self.coded = u.coded[cut:]
        self.pcm, self.weights, self.voice = u.pcm[cut:], u.weights[cut // 160:], u.voice[cut // 160:]


def random_filter(n, rng):
    """Spectral gain of one microphone: a smooth random EQ, sometimes band limits."""
    hz = fft.rfftfreq(n, 1 / RATE).astype(np.float32)
    knots = np.log2([60, 150, 400, 1000, 2500, 5000, 8000])
    octave = np.log2(np.maximum(hz, 30))
    gain = np.interp(octave, knots, rng.normal(0, 3.5, 7) + rng.normal(0, 1.5) * (knots - 10))
    if rng.random() < 0.5:
        low = rng.uniform(60, 320)
        gain -= 10 * np.log10(1 + (low / np.maximum(hz, 1)) ** 4)
    if rng.random() < 0.4:
        high = rng.uniform(3400, 7500)
        gain -= 10 * np.log10(1 + (hz / high) ** 16)
    return db(gain)


def room(n, rng):
    """Spectrum of direct sound plus a decaying noisy tail."""
    length = int(rng.uniform(0.06, 0.45) * RATE)
    tail = rng.normal(0, 1, length) * np.exp(-6.9 * np.arange(length) / length)
    tail *= db(-rng.uniform(5, 20)) / np.sqrt((tail ** 2).sum())
    tail[:16] = 0
    tail[0] = 1
    return fft.rfft(tail.astype(np.float32), n)


def coloured(n, rng):
    """Noise with a random spectral slope, slowly breathing in level; unit RMS."""
    size = fft.next_fast_len(n, real=True)
    hz = np.maximum(fft.rfftfreq(size, 1 / RATE), 20).astype(np.float32)
    slope = float(rng.choice([0, -0.5, -1, -1.4]))
    parts = rng.standard_normal((2, len(hz)), np.float32) * hz ** slope
    if rng.random() < 0.4:
        parts *= random_filter(size, rng)
    noise = fft.irfft(parts[0] + 1j * parts[1], size)[:n]
    if rng.random() < 0.5:
        knots = rng.uniform(0.3, 1.0, 9)
        noise *= np.interp(np.linspace(0, 8, n), np.arange(9), knots)
    return noise / (np.sqrt((noise ** 2).mean()) + 1e-9)


def hum(n, rng):
    t = np.arange(n) / RATE
    base = rng.choice([50, 60, 100, 120]) * rng.uniform(0.98, 1.02)
    sound = sum(rng.uniform(0, 1) / k * np.sin((2 * np.pi * (base * k * t + rng.random())).astype(np.float32)) for k in range(1, 7))
    return sound / (np.sqrt((sound ** 2).mean()) + 1e-9)


def babble(bank, n, rng):
    """Five to eight people at once, far away."""
    sound = np.zeros(n)
    for _ in range(rng.integers(5, 9)):
        voice = bank[rng.integers(len(bank))]
        at = 0
        while at < n:
            pcm = voice[rng.integers(len(voice))].pcm
            pcm = pcm[int(rng.integers(len(pcm) // 2)):]
            end = min(n, at + len(pcm))
            sound[at:end] += pcm[: end - at]
            at = end
    return sound / (np.sqrt((sound ** 2).mean()) + 1e-9)


def clicks(n, rng):
    """Keys and knocks: short decaying bursts."""
    sound = np.zeros(n)
    for _ in range(rng.integers(2, 25)):
        length = int(rng.uniform(0.002, 0.04) * RATE)
        at = rng.integers(0, n - length)
        burst = rng.normal(0, 1, length) * np.exp(-5 * np.arange(length) / length)
        sound[at:at + length] += burst * rng.uniform(0.2, 1)
    return sound


def breath(n, rng):
    sound = np.zeros(n)
    for _ in range(rng.integers(1, 4)):
        length = int(rng.uniform(0.15, 0.6) * RATE)
        at = rng.integers(0, n - length)
        noise = np.diff(rng.normal(0, 1, length + 1))
        sound[at:at + length] += noise * np.hanning(length)
    return sound


def background(bank, n, rng, snr):
    """Everything that is not the speaker, at `snr` dB under nominal speech (-23 dBFS)."""
    level = db(-23 - snr)
    kind = rng.random()
    if kind < 0.62:
        noise = coloured(n, rng)
    elif kind < 0.72:
        noise = hum(n, rng)
    elif kind < 0.86:
        noise, level = babble(bank, n, rng), level * db(-6)
    else:
        noise = coloured(n, rng) * 0.5 + hum(n, rng) * 0.5
    return level * noise


def gated(heard, rng):
    """What a noise gate or a sleeping coder leaves: where the sound is weak, nothing at all."""
    frames = heard[: len(heard) // 160 * 160].reshape(-1, 160)
    level = np.sqrt((frames ** 2).mean(1))
    is_open = level > db(-23 - rng.uniform(24, 42))
    hold = int(rng.integers(2, 30))
    is_open = np.convolve(is_open, np.ones(hold))[: len(level)] > 0
    gain = np.repeat(is_open.astype(np.float32), 160)
    return heard * np.pad(gain, (0, len(heard) - len(gain)), mode="edge")


def segment(bank, rng):
    """-> (pcm [SAMPLES], weights [400, 13], voice [400])"""
    pcm, weights, voice = timeline(bank, rng)
    n = len(pcm)
    spectrum = fft.rfft(pcm, SMOOTH)
    if rng.random() < 0.8:
        spectrum *= random_filter(SMOOTH, rng)
    if rng.random() < 0.4:
        spectrum *= room(SMOOTH, rng)
    heard = fft.irfft(spectrum, SMOOTH)[:n]
    if rng.random() < 0.75:
        heard += background(bank, n, rng, rng.uniform(4, 40))
    if rng.random() < 0.25:
        heard += clicks(n, rng) * db(rng.uniform(-45, -18))
    if rng.random() < 0.25:
        heard += breath(n, rng) * db(rng.uniform(-60, -38))
    if rng.random() < 0.2:
        heard = gated(heard, rng)
    heard *= db(rng.uniform(-28, 14))
    if rng.random() < 0.3:
        heard += rng.uniform(-0.02, 0.02)
    heard = np.round(np.clip(heard, -1, 1) * 32767) / 32768
    return heard.astype(np.float32), weights, voice
