"""Clipping by samples inside a Trainer: the weights of a plain loop."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

pl = pytest.importorskip("lightning.pytorch", reason="lightning is not installed")

import torch  # noqa: E402
from lightning.fabric.utilities.exceptions import MisconfigurationException  # noqa: E402
from lightning.pytorch.plugins import MixedPrecision  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from gradclip_core import ClipPerSample, ClipReport  # noqa: E402
from gradclip_core.lightning import GradientClipping  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers")

Trainer = Callable[..., Any]


class Fit(pl.LightningModule):
    """A small net with a method `loss`, as clipping by samples needs it."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Dropout(dropout), nn.Linear(4, 1))

    def loss(self, batch: list[Tensor]) -> Tensor:
        return (self.net(batch[0]) * batch[0].norm(dim=1, keepdim=True)).pow(2).mean()

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        return self.loss(batch)

    def configure_optimizers(self) -> Any:
        return torch.optim.AdamW(self.parameters(), 0.05)


class Mute(Fit):
    """Without the method."""

    loss = None  # type: ignore[assignment]

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        return self.net(batch[0]).mean()


class Two(Fit):
    """With two optimizers."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False

    def configure_optimizers(self) -> Any:
        return [torch.optim.SGD(self.parameters(), 0.1), torch.optim.SGD(self.parameters(), 0.1)]


def batches() -> torch.utils.data.DataLoader[Any]:
    inputs = torch.randn(32, 3, generator=torch.Generator().manual_seed(1)) * 3
    return torch.utils.data.DataLoader(torch.utils.data.TensorDataset(inputs), batch_size=4)


@pytest.mark.parametrize("every", [1, 2, 4])
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_it_trains_as_a_plain_loop_does(trainer: Trainer, every: int, precision: Any) -> None:
    reports: list[ClipReport] = []
    callback = GradientClipping(
        ClipPerSample(0.5), on_report=lambda _, __, report: reports.append(report)
    )
    module = Fit()
    run = trainer(callbacks=[callback], accumulate_grad_batches=every, precision=precision)
    run.fit(module, batches())

    twin = Fit()
    optimizer, clipper = twin.configure_optimizers(), ClipPerSample(0.5).attach(model=twin)
    data = list(batches())
    for start in range(0, len(data), every):
        optimizer.zero_grad()
        for batch in data[start : start + every]:
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16-mixed"):
                clipper.backward(twin.loss, batch, weight=1 / every)
        report = clipper(twin)
        optimizer.step()
        torch.testing.assert_close(report.norms, reports[start // every].norms)
    torch.testing.assert_close(module.state_dict(), twin.state_dict())
    assert len(reports) == len(data) // every
    assert 0 < reports[0].clipped_share <= 1


def test_dropout_leaves_gradients_bounded_and_training_repeatable(trainer: Trainer) -> None:
    def fitted() -> dict[str, Tensor]:
        module = Fit(dropout=0.5)
        torch.manual_seed(3)
        callback = GradientClipping(ClipPerSample(0.5))
        trainer(callbacks=[callback]).fit(module, batches())
        assert callback.last_report is not None
        assert callback.last_report.clipped_norms.max() <= 0.5 * (1 + 1e-6)
        return copy.deepcopy(module.state_dict())

    torch.testing.assert_close(fitted(), fitted(), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("module", "scaled", "instead"),
    [
        (Mute, False, r"no method loss\(batch\) in the module"),
        (Two, False, "2 optimizers"),
        (Fit, True, "the loss scale of 16-mixed"),
    ],
)
def test_where_it_cannot_work_it_says_so(
    trainer: Trainer, module: Any, scaled: bool, instead: str
) -> None:
    scaler = torch.amp.GradScaler("cpu")
    plugins = [MixedPrecision("16-mixed", "cpu", scaler=scaler)] if scaled else []
    run = trainer(callbacks=[GradientClipping(ClipPerSample(1.0))], plugins=plugins)
    with pytest.raises(MisconfigurationException, match=f"clipping by samples needs .*{instead}$"):
        run.fit(module(), batches())
