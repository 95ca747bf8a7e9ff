"""What the callback tells: metrics, the loss of the step, reports that come after it."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pl = pytest.importorskip("lightning.pytorch", reason="lightning is not installed")

import torch  # noqa: E402
from lightning.pytorch.plugins import MixedPrecision  # noqa: E402
from torch import Tensor  # noqa: E402

from gradclip_core import (  # noqa: E402
    ClipNorm,
    Clipper,
    ClipReport,
    ClipUpdate,
    NoClip,
    chain,
)
from gradclip_core.lightning import GradientClipping  # noqa: E402
from tests.core.test_lightning import (  # noqa: E402
    OPTIMIZERS,
    STEPS,
    Regression,
    Trainer,
    batches,
    fitted,
)

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers")


def logged(folder: Path) -> list[dict[str, str]]:
    (path,) = folder.rglob("metrics.csv")
    with path.open() as lines:
        return list(csv.DictReader(lines))


@pytest.mark.parametrize("prefix", ["grad/", "clip_"])
def test_metrics_are_logged_with_the_values_of_the_reports(
    trainer: Trainer, tmp_path: Path, prefix: str
) -> None:
    from lightning.pytorch.loggers import CSVLogger

    reports: list[ClipReport] = []
    callback = GradientClipping(
        ClipNorm(1.0), log_prefix=prefix, on_report=lambda _, __, report: reports.append(report)
    )
    fitted(trainer(callbacks=[callback], logger=CSVLogger(tmp_path)), Regression())
    rows = logged(tmp_path)
    assert len(rows) == len(reports) == STEPS
    for row, report in zip(rows, reports, strict=True):
        for key, value in report.metrics(prefix).items():
            assert float(row[key]) == pytest.approx(value.item(), rel=1e-5)
    assert {row[f"{prefix}clipped"] for row in rows} == {"0.0", "1.0"}


def test_nothing_is_logged_without_a_prefix(trainer: Trainer, tmp_path: Path) -> None:
    from lightning.pytorch.loggers import CSVLogger

    callback = GradientClipping(NoClip(), log_prefix=None)
    fitted(trainer(callbacks=[callback], logger=CSVLogger(tmp_path)), Regression())
    assert not list(tmp_path.rglob("metrics.csv"))


seen: list[Any] = []


class Watching(Clipper):
    """Keeps the losses that it was given."""

    def forward(self, parameters: Any, *, loss: Tensor | None = None) -> ClipReport:
        seen.append(loss)
        return NoClip()(parameters)


def losses_by_hand(module: Regression, every: int) -> list[Tensor]:
    """The mean loss of the batches of each step, as a plain loop has it."""
    optimizer, losses = OPTIMIZERS["plain"](module), []
    data = list(batches())
    for step in range(0, STEPS, every):
        optimizer.zero_grad()
        loss = torch.stack([module.loss(batch) for batch in data[step : step + every]]).mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    return losses


@pytest.mark.parametrize("every", [1, 2, 4])
@pytest.mark.parametrize("scaled", [False, True])
def test_the_clipper_is_given_the_loss_of_the_whole_step(
    trainer: Trainer, every: int, scaled: bool
) -> None:
    seen.clear()
    settings: dict[str, Any] = {"accumulate_grad_batches": every}
    if scaled:
        scaler = torch.amp.GradScaler("cpu", init_scale=4096.0)
        settings["plugins"] = [MixedPrecision("bf16-mixed", "cpu")]
        settings["plugins"][0].scaler = scaler
    run = trainer(callbacks=[GradientClipping(Watching())], **settings)
    fitted(run, Regression())
    expected = losses_by_hand(Regression(), every)
    assert len(seen) == len(expected)
    tolerance = 5e-2 if scaled else 1e-5
    torch.testing.assert_close(
        torch.stack(seen).float(), torch.stack(expected), rtol=tolerance, atol=0
    )
    assert not any(loss.requires_grad for loss in seen)


@pytest.mark.filterwarnings("ignore:`training_step` returned `None`")
def test_a_step_without_a_loss_hands_none_on(trainer: Trainer) -> None:
    seen.clear()
    module = Regression()
    module.absent = 3
    fitted(trainer(callbacks=[GradientClipping(Watching())]), module)
    assert [loss is None for loss in seen] == [step == 3 for step in range(STEPS)]


UPDATES: dict[str, Callable[[], Clipper]] = {
    "update": lambda: ClipUpdate(0.05),
    "chain": lambda: chain(ClipNorm(1.0), ClipUpdate(0.05)),
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("name", UPDATES)
def test_a_rule_on_the_update_reports_after_the_step(
    trainer: Trainer, name: str, accumulate: int, optimizer: str
) -> None:
    """What is published is what the weights did, once for each step, in its order."""
    seen: list[tuple[int, int, ClipReport]] = []
    module = Regression(optimizer)
    callback = GradientClipping(UPDATES[name](), on_report=lambda *event: seen.append(event))
    run = trainer(callbacks=[Distances(), callback], accumulate_grad_batches=accumulate)
    fitted(run, module)
    distances = run.callbacks[0].distances
    assert [(step, index) for step, index, _ in seen] == [(i, 0) for i in range(len(distances))]
    reports = [report.stages[-1] if report.stages else report for _, _, report in seen]
    for report, distance in zip(reports, distances, strict=True):
        assert report.path == "update"
        assert report.clipped_norm.item() == pytest.approx(distance, rel=1e-4)
        assert distance <= 0.05 * (1 + 1e-4)
    assert any(bool(report.clipped) for report in reports)
    assert callback.last_report is seen[-1][2]
    assert run.logged_metrics["grad/norm"].item() == pytest.approx(seen[-1][2].norm.item())


class Distances(pl.Callback):
    """How far each step moved the weights."""

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        self.distances: list[float] = []
        before: list[Tensor] = []
        params = list(pl_module.parameters())

        def enter(*_: Any) -> None:
            before[:] = [param.detach().clone() for param in params]

        def leave(*_: Any) -> None:
            moves = [(p.detach() - b).flatten() for p, b in zip(params, before, strict=True)]
            self.distances.append(torch.cat(moves).norm().item())

        trainer.optimizers[0].register_step_pre_hook(enter)
        self.leave = leave

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """The hook has to come after the clipper's own."""
        trainer.optimizers[0].register_step_post_hook(self.leave)


@pytest.mark.parametrize("name", UPDATES)
def test_a_step_that_the_guard_skips_is_reported_as_such(trainer: Trainer, name: str) -> None:
    reports: list[ClipReport] = []
    callback = GradientClipping(
        UPDATES[name](), on_report=lambda _, __, report: reports.append(report)
    )
    fitted(trainer(callbacks=[callback]), Regression(poison=3))
    assert [bool(report.skipped) for report in reports] == [i == 3 for i in range(STEPS)]
