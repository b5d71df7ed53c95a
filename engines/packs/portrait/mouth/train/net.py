"""The network. Decides its shape; `Mouth` is the whole-sequence form for training, `Step` the 40 ms form that ships.

log-mel (10 ms) -> causal convolutions down to 40 ms -> GRU -> two output frames (20 ms apart) of 13 movements and one voice flag.
"""
import torch
from torch import nn

BANDS, MOVES = 48, 13
C1, C2, C3, HIDDEN, HEAD = 112, 160, 224, 224, 176


class Mouth(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv1d(BANDS + 1, C1, 5)                # 10 ms
        self.conv2 = nn.Conv1d(C1, C2, 4, stride=2)             # 20 ms
        self.conv3 = nn.Conv1d(C2, C3, 4, stride=2)             # 40 ms
        self.gru = nn.GRU(C3, HIDDEN, batch_first=True)
        self.head = nn.Linear(C3 + HIDDEN, HEAD)
        self.out = nn.Linear(HEAD, 2 * (MOVES + 1))
        nn.init.constant_(self.out.bias, -1.5)

    @staticmethod
    def features(mel):
        """[b, t, 48] -> [b, 49, t]: the shape of the spectrum without its level, and the level."""
        level = mel.mean(-1, keepdim=True)
        return torch.cat([(mel - level) * 0.4, (level + 8.0) * 0.25], -1).transpose(1, 2)

    @staticmethod
    def finish(raw):
        """[..., 2 (moves + 1)] -> weights [..., 2, moves] in -0.04..1.04, voice logits [..., 2].

        The range reaches past 0 so that a shut mouth is exactly shut after the clamp; the clamp itself is only in `Step`, because a clamped
        output has no gradient and the whole network once died of it.
        """
        raw = raw.unflatten(-1, (2, MOVES + 1))
        return torch.sigmoid(raw[..., :MOVES]) * 1.08 - 0.04, raw[..., MOVES]

    def forward(self, mel, state=None):
        """mel [b, 4 T, 48], state from the last call or None -> weights [b, 2 T, 13], voice logits [b, 2 T], state."""
        b = mel.shape[0]
        if state is None:
            state = (mel.new_zeros(b, BANDS + 1, 4), mel.new_zeros(b, C1, 2), mel.new_zeros(b, C2, 2), mel.new_zeros(1, b, HIDDEN))
        x0 = torch.cat([state[0], self.features(mel)], 2)
        x1 = torch.cat([state[1], torch.relu(self.conv1(x0))], 2)
        x2 = torch.cat([state[2], torch.relu(self.conv2(x1))], 2)
        x3 = torch.relu(self.conv3(x2)).transpose(1, 2)
        g, h = self.gru(x3, state[3])
        raw = self.out(torch.relu(self.head(torch.cat([x3, g], -1))))
        weights, voice = self.finish(raw)
        return weights.flatten(1, 2), voice.flatten(1, 2), (x0[..., -4:], x1[..., -2:], x2[..., -2:], h)
