"""A chain hands on what it is attached to, and its stages keep their state."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gradclip_core import (
    Chain,
    ClipNorm,
    Clipper,
    ClipReport,
    NoClip,
    Percentile,
    chain,
)
from tests.core.composed.test_chain import HalvesInStep, Holding, norm_of, random_grads
from tests.core.copies import COPIES, copied


class Seen(Clipper):
    """A stage that remembers what it was attached to and which loss it was given."""

    def attach(self, **given: Any) -> Any:
        self.given = given
        return self

    def detach(self) -> None:
        self.given = {}

    def forward(self, parameters: Any, *, loss: Tensor | None = None) -> ClipReport:
        self.loss = loss
        return NoClip()(parameters)


def test_model_optimizer_and_loss_reach_every_stage(holding: Holding) -> None:
    stages = Seen(), Seen()
    clipper, net = chain(*stages), nn.Linear(1, 1)
    optimizer = torch.optim.SGD(net.parameters(), 1.0)
    assert clipper.attach(model=net, optimizer=optimizer) is clipper
    assert [stage.given for stage in stages] == [{"model": net, "optimizer": optimizer}] * 2
    loss = torch.tensor(3.0)
    clipper(holding(torch.ones(1)), loss=loss)
    assert all(stage.loss is loss for stage in stages)
    clipper.detach()
    assert [stage.given for stage in stages] == [{}, {}]


def test_the_report_of_a_stage_that_acts_in_the_step_comes_after_it(holding: Holding) -> None:
    (param,) = holding(torch.tensor([4.0]))
    optimizer = torch.optim.SGD([param], 0.1)
    clipper = chain(NoClip(nonfinite="skip"), HalvesInStep()).attach(optimizer=optimizer)
    assert clipper.acts_in_step
    assert clipper([param]).clipped.item() is False
    optimizer.step()
    assert clipper.last_report.clipped.item() is True
    assert (clipper.steps.item(), clipper.last_report.clip_rate.item()) == (1, 1.0)
    param.grad = torch.tensor([math.nan])
    assert clipper([param]).skipped.item() is True
    optimizer.step()
    assert clipper.last_report.skipped.item() is True
    assert (clipper.steps.item(), clipper.clippers[1].calls) == (2, 1)


@pytest.mark.parametrize("kind", COPIES)
def test_a_copy_goes_on_as_the_chain_itself_does(holding: Holding, kind: str) -> None:
    def make() -> Chain:
        return chain(ClipNorm(Percentile(30, window=50), by="parameter"), ClipNorm(Percentile(60)))

    grads = [random_grads(i, [[2, 3], [4]], 1.0 + i % 7, torch.float32) for i in range(300)]
    clipper, whole = make(), make()
    expected = [whole(params) and norm_of(params) for params in (holding(*g) for g in grads)]
    for g in grads[:150]:
        clipper(holding(*g))
    other = copied(kind, clipper, make)
    assert other.last_report is None
    resumed = [other(params) and norm_of(params) for params in (holding(*g) for g in grads[150:])]
    assert resumed == expected[150:]
    torch.testing.assert_close(other.state_dict(), whole.state_dict(), rtol=0, atol=0)
