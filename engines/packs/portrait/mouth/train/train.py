"""Trains the network: python train.py SPEECH_FOLDER OUT.pt MINUTES [START.pt]. Decides losses and schedule."""
import math
import sys
import time

import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from augment import segment
from curves import CLOSE, JAW
from mel import log_mel
from net import Mouth
from speech import load_all

BATCH, PEAK_RATE = 24, 2.5e-3
# weight of each movement's squared error; about 1 / variance, the jaw and the lips first
CARE = torch.tensor([3.0, 6.0, 2.5, 2.0, 3.0, 3.0, 2.5, 6.0, 0.1, 4.0, 2.5, 2.5, 3.0])


class Heard(IterableDataset):
    def __init__(self, folder):
        banks = load_all(folder, held=False)
        self.bank = []
        for name, utterances in banks.items():           # a voice is drawn as often as it has parts of 150 utterances, the mixed ones more
            copies = max(1, len(utterances) // 150) * {"women": 4, "strangers": 2}.get(name, 1)
            self.bank += [utterances] * copies
        print({k: len(v) for k, v in banks.items()}, flush=True)

    def __iter__(self):
        worker = get_worker_info()
        rng = np.random.default_rng((worker.seed if worker else 0) % (1 << 32))
        while True:
            pcm, weights, voice = segment(self.bank, rng)
            yield log_mel(pcm), weights, voice


# how much more it costs to move too little than too much: a mean over what might be meant would hardly purse the lips
SHORT = torch.tensor([0.5, 0.0, 0.6, 1.2, 0.2, 0.2, 0.6, 0.4, 0.0, 0.3, 0.0, 0.3, 1.2])


def loss_of(weights, voice, target, speaking):
    care = CARE * 10
    closed = ((target[..., CLOSE] > 0.6 * target[..., JAW]) & (target[..., 9] > 0.08)).float()
    quiet = (target.amax(-1) < 0.004).float()
    importance = (1 + 3 * closed + 1.0 * quiet)[..., None]
    short = 1 + SHORT * ((weights < target) & (target > 0.08))
    fit = ((weights - target) ** 2 * care * importance * short).mean()
    gap, aim = weights[..., JAW] - weights[..., CLOSE], target[..., JAW] - target[..., CLOSE]
    lips = 40 * ((gap - aim) ** 2 * (1 + 4 * closed)).mean()
    ajar = 700 * (torch.relu(gap - aim.clamp(min=0.03)) ** 2 * closed).mean()          # open when it should be shut costs more
    speed = (((weights.diff(dim=1) - target.diff(dim=1)) ** 2) * care).mean() * 2.0
    bend, wanted = weights.diff(dim=1).diff(dim=1), target.diff(dim=1).diff(dim=1)
    jerk = ((bend - wanted) ** 2 * care).mean() * 0.5 + 6 * torch.relu(bend.abs() - wanted.abs()).mean()
    shut = (weights.clamp(min=0).mean(-1) * quiet).mean() * 6.0
    flag = torch.nn.functional.binary_cross_entropy_with_logits(voice, speaking) * 0.15
    return fit + lips + ajar + speed + jerk + shut + flag, fit


def main(folder, path, minutes, start=None):
    torch.manual_seed(7)
    torch.set_num_threads(1)
    net = Mouth()
    if start:
        net.load_state_dict(torch.load(start, weights_only=True))
    print(sum(p.numel() for p in net.parameters()), "parameters", flush=True)
    optimiser = torch.optim.AdamW(net.parameters(), lr=PEAK_RATE, weight_decay=1e-3, betas=(0.9, 0.98))
    average = {k: v.clone() for k, v in net.state_dict().items()}
    began, state, shown = time.monotonic(), None, []
    for i, (mel, target, speaking) in enumerate(DataLoader(Heard(folder), BATCH, num_workers=2, prefetch_factor=2)):
        done = (time.monotonic() - began) / (minutes * 60)
        if done >= 1:
            break
        peak = PEAK_RATE * (0.5 if start else 1.0)
        for group in optimiser.param_groups:
            group["lr"] = peak * min(1, (i + 1) / 40) * (0.5 + 0.5 * math.cos(math.pi * done)) + 2e-5
        if state is not None:                            # half the streams start as a cold call, half go on from some other sound
            keep = (torch.rand(BATCH) < 0.5).float()
            state = tuple(s.detach()[order] * keep[:, None, None] if s.dim() == 3 and s.shape[0] == BATCH
                          else s.detach()[:, order] * keep[None, :, None] for s in state for order in [torch.arange(BATCH)])
        weights, voice, state = net(mel, state)
        loss, fit = loss_of(weights, voice, target, speaking)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        for k, v in net.state_dict().items():
            average[k].lerp_(v, max(0.006, 1 / (i + 1)))
        shown.append((loss.item(), fit.item()))
        if i % 20 == 19:
            a = np.mean(shown[-20:], 0)
            print(f"{i + 1} {time.monotonic() - began:.0f}s loss {a[0]:.4f} fit {a[1]:.4f}", flush=True)
        if i % 50 == 49:
            torch.save(average, path)
    torch.save(average, path)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]), sys.argv[4] if len(sys.argv) > 4 else None)
