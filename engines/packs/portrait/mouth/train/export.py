"""Writes what ships: python export.py NET.pt OUT_FOLDER. Decides the graph's interface, mouth.json and the golden files.

mouth.onnx is one 40 ms step with carried state. The GRU is spelled out in MatMul, Sigmoid and Tanh; the pairs Left/Right are the same
row of the last layer written twice. Checks that stepping the ONNX graph equals the sequence form.
"""
import json
import sys
import wave

import numpy as np
import onnx
import onnxruntime as ort
import torch
from torch import nn

import mel as front
from curves import MOVES
from net import BANDS, C1, C2, C3, HIDDEN, Mouth
from augment import DELAY

PAIRED = {"mouthSmile", "mouthStretch", "mouthPress", "mouthLowerDown", "mouthUpperUp"}
NAMES = [n for m in MOVES for n in ([m + "Left", m + "Right"] if m in PAIRED else [m])]
SOURCE = [i for i, m in enumerate(MOVES) for _ in range(2 if m in PAIRED else 1)]
STATES = {"conv1": [1, BANDS + 1, 4], "conv2": [1, C1, 2], "conv3": [1, C2, 2], "gru": [1, HIDDEN]}


class Step(nn.Module):
    """Four new mel frames and the states -> two frames of weights, the voice flag, the next states."""

    def __init__(self, net):
        super().__init__()
        net.requires_grad_(False)
        self.net = net
        self.w_in, self.w_rec = net.gru.weight_ih_l0.T.contiguous(), net.gru.weight_hh_l0.T.contiguous()
        self.b_in, self.b_rec = net.gru.bias_ih_l0, net.gru.bias_hh_l0
        n = len(MOVES) + 1
        rows = [k * n + s for k in range(2) for s in SOURCE]
        flags = [k * n + len(MOVES) for k in range(2)]
        self.w_out, self.b_out = net.out.weight[rows].T.contiguous(), net.out.bias[rows]
        self.w_flag, self.b_flag = net.out.weight[flags].T.contiguous(), net.out.bias[flags]

    def cell(self, x, h):
        a, r = x @ self.w_in + self.b_in, h @ self.w_rec + self.b_rec
        n = HIDDEN
        reset = torch.sigmoid(a[:, :n] + r[:, :n])
        update = torch.sigmoid(a[:, n:2 * n] + r[:, n:2 * n])
        new = torch.tanh(a[:, 2 * n:] + reset * r[:, 2 * n:])
        return new + update * (h - new)

    def forward(self, mel, conv1, conv2, conv3, gru):
        x0 = torch.cat([conv1, self.net.features(mel)], 2)
        x1 = torch.cat([conv2, torch.relu(self.net.conv1(x0))], 2)
        x2 = torch.cat([conv3, torch.relu(self.net.conv2(x1))], 2)
        x3 = torch.relu(self.net.conv3(x2)).reshape(1, C3)
        h = self.cell(x3, gru)
        y = torch.relu(self.net.head(torch.cat([x3, h], 1)))
        weights = torch.clamp(torch.sigmoid(y @ self.w_out + self.b_out) * 1.08 - 0.04, 0.0, 1.0).reshape(1, 2, len(NAMES))
        return weights, torch.sigmoid(y @ self.w_flag + self.b_flag), x0[:, :, 4:8], x1[:, :, 4:6], x2[:, :, 2:4], h


def write_graph(net, path):
    step = Step(net).eval()
    feed = (torch.zeros(1, 4, BANDS), *(torch.zeros(s) for s in STATES.values()))
    names_in = ["mel", *(f"state_{s}" for s in STATES)]
    names_out = ["weights", "voice", *(f"next_{s}" for s in STATES)]
    torch.onnx.export(step, feed, path, input_names=names_in, output_names=names_out, opset_version=17, dynamo=False)
    onnx.checker.check_model(onnx.load(path), full_check=True)


class Stream:
    """Runs mouth.onnx step by step."""

    def __init__(self, path):
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        self.run = ort.InferenceSession(path, options)
        self.state = {f"state_{k}": np.zeros(s, np.float32) for k, s in STATES.items()}

    def step(self, mel):
        weights, voice, *nxt = self.run.run(None, {"mel": mel[None], **self.state})
        self.state = dict(zip(self.state, nxt))
        return weights[0], voice[0]

    def all(self, mel):
        steps = [self.step(mel[i:i + 4]) for i in range(0, len(mel) // 4 * 4, 4)]
        return np.concatenate([s[0] for s in steps]), np.concatenate([s[1] for s in steps])


def spec():
    return {
        "format": 1,
        "sample_rate_hz": front.RATE, "window_samples": front.WINDOW, "window": "hann, periodic", "hop_samples": front.HOP, "n_fft": front.N_FFT,
        "zero_padding": "112 zeros after the window; no padding before the first sample: frame i covers samples [160 i, 160 i + 400)",
        "spectrum": "power |X|^2, unscaled", "mel_bands": front.BANDS, "f_min_hz": front.F_MIN, "f_max_hz": front.F_MAX,
        "mel_formula": "htk: 2595 log10(1 + f/700); triangles of peak 1 at the bin frequencies, corners equally spaced in mel",
        "log": "natural log of (power + log_floor)", "log_floor": front.FLOOR,
        "frames_per_step": 4, "step_samples": 640, "outputs_per_step": 2, "output_hop_samples": 320,
        "output_offset_samples": -DELAY,
        "output_time": "output k (0 or 1) of step n (from 0) is the mouth at sample 640 n + 320 k + output_offset_samples; drop those before 0",
        "look_ahead_samples": front.HOP * 3 + front.WINDOW + DELAY - 320,
        "look_ahead": "step n can run when 640 n + 880 samples are in; its newest output (k = 1) is 1200 samples (75 ms) before the last of them, "
                      "1000 samples (62.5 ms) before the centre of the newest mel window; k = 0 is 320 samples (20 ms) more",
        "weights": NAMES, "voice": "probability that someone speaks at the same instants",
        "states": {f"state_{k}": s for k, s in STATES.items()}, "next": {f"state_{k}": f"next_{k}" for k in STATES}, "state_start": 0.0,
    }


def write_json(path, value):
    with open(path, "w", encoding="utf-8") as f:
        json.dump(value, f, indent=1)
        f.write("\n")


def golden(folder):
    """2.6 s of the Heart voice, its log-mel and the weights of the streamed graph (little-endian f32, row major)."""
    from hibari import Hibari
    from scipy.signal import resample_poly
    sound = resample_poly(Hibari()("My mom found five big purple fish.", seed=3).astype(np.float64), 2, 3)[:41840]
    pcm = np.round(np.clip(sound / np.abs(sound).max() * 0.5, -1, 1) * 32767).astype("<i2")
    with wave.open(f"{folder}/golden.wav", "wb") as w:
        w.setnchannels(1)
        w.setsampwidth(2)
        w.setframerate(front.RATE)
        w.writeframes(pcm.tobytes())
    mel = front.log_mel(pcm.astype(np.float32) / 32768)
    weights, voice = Stream(f"{folder}/mouth.onnx").all(mel)
    for name, table in (("mel", mel), ("weights", weights), ("voice", voice)):
        table.astype("<f4").tofile(f"{folder}/golden.{name}.f32")
    write_json(f"{folder}/golden.json", {
        "wav": "golden.wav", "pcm_scale": "i16 / 32768", "samples": len(pcm),
        "mel": {"file": "golden.mel.f32", "shape": list(mel.shape), "tolerance": 2e-3},
        "weights": {"file": "golden.weights.f32", "shape": list(weights.shape), "tolerance": 1e-3},
        "voice": {"file": "golden.voice.f32", "shape": list(voice.shape), "tolerance": 1e-3}})
    return mel, weights


def main(source, folder):
    net = Mouth()
    net.load_state_dict(torch.load(source, weights_only=True))
    net.eval()
    write_graph(net, f"{folder}/mouth.onnx")
    write_json(f"{folder}/mouth.json", spec())
    mel, weights = golden(folder)
    with torch.no_grad():
        whole = net(torch.from_numpy(mel[: len(mel) // 4 * 4])[None])[0][0].clamp(0, 1).numpy()[:, SOURCE]
    worst = float(np.abs(whole - weights).max())
    print(f"steps against sequence: largest difference {worst:.2e}")
    assert worst < 1e-4


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
