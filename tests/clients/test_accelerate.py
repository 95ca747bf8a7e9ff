"""A loop of Accelerate's: equal to its own clip at one threshold, and resumable."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("accelerate", reason="accelerate is not installed")

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim import AdamW

from gradclip_core import ClipNorm, Clipper, Median, clip_in_step

BOUND, STEPS = 0.3, 12


class Run:
    """A training that accumulates over two batches, with a clipper in the step or none."""

    def __init__(self, clipper: Clipper | None) -> None:
        torch.manual_seed(0)
        self.accelerator = Accelerator(cpu=True, gradient_accumulation_steps=2)
        net = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))
        self.net, self.optimizer = self.accelerator.prepare(net, AdamW(net.parameters(), 0.02))
        self.clipper = clipper
        if clipper is not None:
            clip_in_step(self.optimizer, clipper).attach(model=self.net)

    def go(self, steps: range, bound: float | None = None) -> Run:
        for i in steps:
            with self.accelerator.accumulate(self.net):
                x = torch.randn(8, 3, generator=torch.Generator().manual_seed(i))
                self.accelerator.backward((self.net(x) * 10 - 3).square().mean())
                if bound is not None and self.accelerator.sync_gradients:
                    self.accelerator.clip_grad_norm_(self.net.parameters(), bound)
                self.optimizer.step()
                self.optimizer.zero_grad()
        return self

    def weights(self) -> dict[str, Tensor]:
        return {name: value.clone() for name, value in self.net.state_dict().items()}


def test_weights_are_those_of_its_own_clipping() -> None:
    ours = Run(ClipNorm(BOUND)).go(range(STEPS))
    theirs, free = Run(None).go(range(STEPS), BOUND), Run(None).go(range(STEPS))
    # Float32: norms that differ in their last digit, through six steps of Adam.
    torch.testing.assert_close(ours.weights(), theirs.weights(), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(ours.weights()["0.weight"], free.weights()["0.weight"], atol=1e-3)
    assert ours.clipper is not None
    assert ours.clipper.last_report is not None
    assert ours.clipper.last_report.names[0] == "0.weight"
    steps: Any = ours.clipper.steps
    assert steps.item() == STEPS // 2


def test_save_state_and_load_state_keep_the_clipper(tmp_path: Path) -> None:
    whole, half = (Run(ClipNorm(Median(0.8))) for _ in range(2))
    whole.go(range(STEPS))
    half.go(range(6)).accelerator.save_state(str(tmp_path))
    rest = Run(ClipNorm(Median(0.8)))
    rest.accelerator.load_state(str(tmp_path))
    rest.go(range(6, STEPS))
    torch.testing.assert_close(rest.weights(), whole.weights(), rtol=0, atol=0)
    assert rest.clipper is not None
    assert whole.clipper is not None
    torch.testing.assert_close(
        rest.clipper.state_dict(), whole.clipper.state_dict(), rtol=0, atol=0
    )
