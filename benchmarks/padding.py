"""What does padding cost a training step of the speech recogniser?

    python -m benchmarks.padding data/speech/digits/train.jsonl

Batches of 16 utterances, put together by length as the application does, go through the default
network, the CTC loss, the backward pass and AdamW, by the process's CPU clock with one thread.
Beside it: the same network with torch's bidirectional LSTM on equally many frames without any
padding, and on the padded batch with packed sequences. Features are random, lengths are real.
"""

from __future__ import annotations

import argparse
import random
import time
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from apps.base.sampler import LengthSampler
from apps.base.task import Optimization
from apps.speech.augment import Augment
from apps.speech.batches import Batch
from apps.speech.manifest import read_manifest
from apps.speech.model import RecurrentCTC
from apps.speech.task import CTCTask

FRAME = 0.03  # seconds
BATCH_SIZE, NUM_BANDS, NUM_STACKED, NUM_OUTPUTS = 16, 40, 3, 11


class Torchs(nn.Module):
    """torch's own bidirectional LSTM in the place of a layer of ours."""

    def __init__(self, size: int, hidden_size: int, packed: bool) -> None:
        super().__init__()
        self.lstm = nn.LSTM(size, hidden_size, batch_first=True, bidirectional=True)
        self.packed = packed

    def forward(self, frames: Tensor, lengths: Tensor) -> Tensor:
        """States (B, T, 2 * hidden_size)."""
        if not self.packed:
            states: Tensor = self.lstm(frames)[0]
            return states
        packed = pack_padded_sequence(frames, lengths, batch_first=True, enforce_sorted=False)
        return pad_packed_sequence(self.lstm(packed)[0], batch_first=True)[0]


def task(packed: bool | None) -> CTCTask:
    """The default network with our layers (None) or torch's."""
    net = RecurrentCTC(NUM_STACKED * NUM_BANDS, NUM_STACKED, NUM_OUTPUTS, hidden_size=64)
    if packed is not None:
        sizes = (NUM_STACKED * NUM_BANDS, 128)
        net.layers = nn.ModuleList(Torchs(size, 64, packed) for size in sizes)
    optimizer = partial(torch.optim.AdamW, lr=1e-3, fused=True)
    return CTCTask(net, Optimization(optimizer), NUM_BANDS, Augment())


def batch(lengths: list[int]) -> Batch:
    """Random features and outputs of these lengths."""
    counts = torch.tensor([max(1, length // 20) for length in lengths])
    return Batch(
        torch.randn(len(lengths), max(lengths), NUM_STACKED * NUM_BANDS),
        torch.tensor(lengths),
        torch.randint(1, NUM_OUTPUTS, (len(lengths), int(counts.max()))),
        counts,
    )


def seconds(task: CTCTask, optimizer: torch.optim.Optimizer, batch: Batch) -> float:
    """CPU time of one training step."""
    started = time.process_time()
    optimizer.zero_grad()
    task.loss(batch).backward()
    optimizer.step()
    return time.process_time() - started


def main() -> None:
    """Print the share of padding and the cost of a step over that without padding."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("manifest", type=Path, help="JSON lines with durations")
    parser.add_argument("--rounds", type=int, default=75, help="batches that are timed")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    frames = [max(1, round((u.duration or 1.0) / FRAME)) for u in read_manifest(options.manifest)]
    drawn = list(LengthSampler(frames, BATCH_SIZE, seed=0))
    tasks = {"ours": task(None), "unpadded": task(False), "packed": task(True)}
    optimizers = {name: one.make_optimizer() for name, one in tasks.items()}
    spent = dict.fromkeys(tasks, 0.0)
    padded = [0, 0]
    for number in range(-3, options.rounds):  # the first three warm up
        lengths = [frames[i] for i in drawn[number % len(drawn)]]
        even = [round(sum(lengths) / len(lengths))] * len(lengths)
        padded = [padded[0] + sum(lengths), padded[1] + max(lengths) * len(lengths)]
        for name in random.sample(list(tasks), len(tasks)):
            given = batch(even if name == "unpadded" else lengths)
            spent[name] += (number >= 0) * seconds(tasks[name], optimizers[name], given)
    print(f"padding: {1 - padded[0] / padded[1]:.1%} of all frames in a batch")
    for name in ("ours", "packed"):
        print(f"{name}: {spent[name] / spent['unpadded']:.2f} times a step without padding")
    print(f"a step without padding: {1000 * spent['unpadded'] / options.rounds:.1f} ms")


if __name__ == "__main__":
    main()
