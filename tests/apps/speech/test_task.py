"""The CTC loss: what it is for a batch, and that a batch is the mean of its utterances."""

from __future__ import annotations

import pytest
import torch

from apps.base.task import Optimization
from apps.speech.augment import Augment
from apps.speech.batches import Batch
from apps.speech.model import RecurrentCTC
from apps.speech.task import CTCTask
from gradclip_core import ClipPerSample


def make(augment=None, **sizes) -> CTCTask:
    torch.manual_seed(0)
    net = RecurrentCTC(6, 3, 4, hidden_size=5, dropout=0.0, **sizes)
    return CTCTask(net, Optimization(torch.optim.SGD), num_bands=2, augment=augment)


@pytest.fixture
def batch() -> Batch:
    frames = torch.randn(3, 12, 6, generator=torch.Generator().manual_seed(1))
    lengths = torch.tensor([12, 9, 7])
    targets = torch.tensor([[1, 2, 3, 1], [2, 2, 0, 0], [3, 0, 0, 0]])
    return Batch(frames, lengths, targets, torch.tensor([4, 2, 1]))


def test_the_loss_is_torchs_on_outputs_without_padding(batch):
    task = make()
    scores = task.net(batch.frames, batch.lengths).log_softmax(-1)
    counts = batch.target_lengths.tolist()
    rows = zip(batch.targets.tolist(), counts, strict=True)
    whole = torch.tensor([output for row, count in rows for output in row[:count]])
    expected = torch.nn.functional.ctc_loss(
        scores.transpose(0, 1), whole, batch.lengths, batch.target_lengths
    )
    torch.testing.assert_close(task.loss(batch), expected)


def test_samples_clipped_at_a_norm_that_none_has_are_the_plain_gradient(batch):
    plain, task = make(), make()
    plain.loss(batch).backward()
    clipper = ClipPerSample(1e9).attach(model=task)
    clipper.backward(task.loss, batch)
    for mine, other in zip(task.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, other.grad, atol=1e-6, rtol=1e-4)
    assert len(clipper(task).norms) == 3


def test_masks_are_of_training_alone(batch):
    task = make(Augment(2, 8, 1, 2))
    plain = make()
    with torch.no_grad():
        assert task.eval().loss(batch) == plain.eval().loss(batch)
        assert task.train().loss(batch) != plain.loss(batch)


def test_an_utterance_too_short_for_its_outputs_has_no_gradient(batch):
    task = make()
    task.loss(batch).backward()
    before = [p.grad.clone() for p in task.parameters()]
    task.zero_grad()
    # Twice the same output needs a blank between: three frames, not two.
    frames = torch.cat([batch.frames, batch.frames[1:2]])
    longer = Batch(
        frames,
        torch.tensor([12, 9, 7, 2]),
        torch.cat([batch.targets, batch.targets[1:2]]),
        torch.tensor([4, 2, 1, 2]),
    )
    task.loss(longer).backward()
    for param, grad in zip(task.parameters(), before, strict=True):
        torch.testing.assert_close(param.grad, 0.75 * grad, atol=1e-6, rtol=1e-4)
