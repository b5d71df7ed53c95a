"""The log-mel front end, the twin of `src/audio/mel.rs`. Decides how sound becomes numbers; both sides must agree exactly.

Frame i covers samples [160 i, 160 i + 400): no padding before the first sample. The 400 samples are multiplied by a *periodic* Hann
window, followed by 112 zeros, and transformed (512-point real FFT, no scaling). The power |X|^2 of bins 0..256 goes through 48
triangles of peak 1 whose corners are equally spaced on the HTK mel scale from 60 to 7600 Hz, evaluated at the bin's frequency.
value = ln(power + 1e-7), PCM being in [-1, 1].
"""
import numpy as np
from scipy.fft import rfft

RATE, WINDOW, HOP, N_FFT, BANDS, F_MIN, F_MAX, FLOOR = 16000, 400, 160, 512, 48, 60.0, 7600.0, 1e-7


def hz_to_mel(hz):
    return 2595.0 * np.log10(1.0 + np.asarray(hz, float) / 700.0)


def mel_to_hz(mel):
    return 700.0 * (10.0 ** (np.asarray(mel, float) / 2595.0) - 1.0)


def filters():
    """[257, 48] triangles."""
    corners = mel_to_hz(np.linspace(hz_to_mel(F_MIN), hz_to_mel(F_MAX), BANDS + 2))
    hz = np.arange(N_FFT // 2 + 1)[:, None] * RATE / N_FFT
    rising = (hz - corners[:-2]) / (corners[1:-1] - corners[:-2])
    falling = (corners[2:] - hz) / (corners[2:] - corners[1:-1])
    return np.maximum(0.0, np.minimum(rising, falling)).astype(np.float32)


HANN = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)).astype(np.float32)
FILTERS = filters()


def log_mel(pcm):
    """f32 samples -> [frames, 48]."""
    pcm = np.asarray(pcm, np.float32)
    frames = np.lib.stride_tricks.sliding_window_view(pcm, WINDOW)[::HOP] * HANN
    spectrum = rfft(frames, N_FFT)
    power = (spectrum.real ** 2 + spectrum.imag ** 2).astype(np.float32)
    return np.log(power @ FILTERS + np.float32(FLOOR)).astype(np.float32)
