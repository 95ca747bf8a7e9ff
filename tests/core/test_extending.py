"""Strategies of one's own: the examples of the documentation, each short and at work."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from gradclip_core import ByName, ClipNorm, Clipper, NonFiniteGradientError, chain
from tests.core.copies import COPIES, copied

Holding = Callable[..., list[nn.Parameter]]
PAGE = Path(__file__).parents[2] / "docs" / "guides" / "extend.md"
TEXT = PAGE.read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", TEXT, re.S)
EXAMPLES = {re.findall(r"^class (\w+)", block, re.M)[0]: block for block in BLOCKS}


def example(name: str) -> Any:
    namespace: dict[str, Any] = {}
    exec(compile(EXAMPLES[name], "extend.md", "exec"), namespace)
    return namespace


def test_there_is_one_of_each_kind() -> None:
    assert set(EXAMPLES) == {"TwiceTheMean", "Flip", "AfterWarmup"}


@pytest.mark.parametrize("name", EXAMPLES)
def test_it_has_under_20_lines(name: str) -> None:
    body = EXAMPLES[name].partition("class ")[2].partition("\nclipper =")[0]
    assert len([line for line in body.splitlines() if line.strip()]) < 20


def test_a_threshold_of_ones_own(holding: Holding) -> None:
    clipper = ClipNorm(example("TwiceTheMean")["TwiceTheMean"](decay=0.5), eps=0)
    limits = [clipper(holding(torch.tensor([g]))).threshold.item() for g in (1.0, 3.0, 100.0)]
    assert limits == [2.0, 4.0, 102.0]


def test_a_response_of_ones_own(holding: Holding) -> None:
    flip = example("Flip")["Flip"]
    first, second = holding(torch.tensor([3.0, 4.0]), torch.tensor([0.5]))
    report = flip(1.0, by="parameter")([first, second])
    assert first.grad.tolist() == pytest.approx([-0.6, -0.8])
    assert second.grad.tolist() == [0.5]
    assert (report.over.tolist(), report.clipped_norms.tolist()) == ([True, False], [1.0, 0.5])
    with pytest.raises(NonFiniteGradientError):
        flip(1.0, nonfinite="raise")(holding(torch.tensor([torch.nan])))
    with pytest.raises(ValueError, match="max_norm must be a number > 0"):
        flip(-1.0)


@pytest.mark.parametrize("kind", COPIES)
def test_a_clipper_of_ones_own(holding: Holding, kind: str) -> None:
    # A class has to have a place before it can be pickled.
    AfterWarmup = globals()["AfterWarmup"] = example("AfterWarmup")["AfterWarmup"]  # noqa: N806
    AfterWarmup.__module__ = __name__

    def make() -> Clipper:
        clipper: Clipper = AfterWarmup(ClipNorm(1.0, eps=0), steps=2)
        return clipper

    clipper = make()
    norms = [clipper(holding(torch.tensor([5.0]))).clipped_norm.item() for _ in range(3)]
    assert norms == [5.0, 5.0, 1.0]
    assert copied(kind, clipper, make)(holding(torch.tensor([5.0]))).clipped_norm.item() == 1.0


def test_they_work_together(holding: Holding) -> None:
    net = nn.ModuleDict({"body": nn.Linear(1, 1), "head": nn.Linear(1, 1)})
    for param in net.parameters():
        param.grad = torch.full_like(param, 5.0)
    flip = example("Flip")["Flip"](1.0, by="parameter")
    free = example("AfterWarmup")["AfterWarmup"](ClipNorm(1.0), 100)
    report = chain(ByName({"head": flip}, otherwise=free), ClipNorm(100.0))(net)
    assert [param.grad.item() for param in net.parameters()] == pytest.approx([5, 5, -1, -1])
    assert report.clipped.item() is True


@pytest.mark.filterwarnings("ignore:.*does not have many workers")
def test_it_clips_in_lightning(trainer: Callable[..., Any]) -> None:
    pl = pytest.importorskip("lightning.pytorch", reason="lightning is not installed")
    from gradclip_core.lightning import GradientClipping

    class Module(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Linear(2, 1)

        def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
            loss: torch.Tensor = 100 * self.net(batch).mean()
            return loss

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), 0.1)

    callback = GradientClipping(example("AfterWarmup")["AfterWarmup"](ClipNorm(1.0, eps=0), 3))
    data = torch.utils.data.DataLoader(torch.ones(10, 2), batch_size=2)
    trainer(callbacks=[callback]).fit(Module(), data)
    assert callback.last_report.clipped_norm.item() == pytest.approx(1.0)
    assert callback.clippers[0].calls.item() == 5
