"""Speech through Opus and back, as the product hears it. Decides bit rates and alignment."""
import av
import numpy as np
from scipy.signal import resample_poly

RATE, FRAME = 16000, 320
DELAY = 103                                              # samples that coder and decoder lag together
PIECE_S = 20                                             # one bit rate lasts this long


def through_opus(pcm, rng):
    """int16 mono at 16 kHz -> the same length, every 20 s at another rate of 10 to 32 kbit/s."""
    size = PIECE_S * RATE
    return np.concatenate([coded(pcm[i:i + size], rng.choice([10, 12, 16, 20, 24, 32])) for i in range(0, len(pcm), size)])


def coded(pcm, kbps):
    """One piece through a coder of its own, moved back by the delay of coder and decoder."""
    enc = av.CodecContext.create("libopus", "w")
    enc.sample_rate, enc.layout, enc.format, enc.bit_rate = RATE, "mono", "s16", kbps * 1000
    enc.options = {"application": "voip", "frame_duration": "20"}
    dec = av.CodecContext.create("libopus", "r")
    dec.sample_rate, dec.layout = RATE, "mono"
    padded = np.concatenate([pcm, np.zeros(-len(pcm) % FRAME + 2 * FRAME, np.int16)])
    packets = []
    for at in range(0, len(padded), FRAME):
        frame = av.AudioFrame.from_ndarray(padded[None, at:at + FRAME], "s16", "mono")
        frame.sample_rate, frame.pts = RATE, at
        packets += enc.encode(frame)
    back = [f.to_ndarray().ravel() for p in packets + enc.encode(None) for f in dec.decode(p)]
    heard = resample_poly(np.concatenate(back).astype(np.float32), 1, 3)          # the decoder's rate is 48 kHz
    heard = heard[DELAY:DELAY + len(pcm)]
    return np.clip(np.round(heard), -32768, 32767).astype(np.int16)
