"""Batches by number: the same for the same seed, none twice, the same after a resume."""

from __future__ import annotations

import torch

from apps.synthetic.stream import stream_loader


def batches(seed, epochs, steps=3):
    loader = stream_loader(lambda generator: torch.tensor(generator.random(4)), seed, steps)
    found = []
    for epoch in epochs:
        loader.sampler.set_epoch(epoch)
        found += list(loader)
    return torch.stack(found)


def test_epochs_follow_each_other_and_no_batch_comes_twice():
    drawn = batches(0, [0, 1])
    assert drawn.shape == (6, 4)
    assert len(drawn.unique(dim=0)) == 6
    assert torch.equal(drawn, batches(0, [0], steps=6))
    assert torch.equal(drawn[3:], batches(0, [1])), "an epoch needs none before it"
    assert not torch.isin(drawn, batches(1, [0, 1])).any()
