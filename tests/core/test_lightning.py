"""The callback in automatic optimisation: the weights of a plain loop, logged and resumable."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pl = pytest.importorskip("lightning.pytorch", reason="lightning is not installed")

import torch  # noqa: E402
from lightning.fabric.utilities.exceptions import MisconfigurationException  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch.optim import SGD, AdamW, Optimizer  # noqa: E402

from gradclip_core import (  # noqa: E402
    ClipNorm,
    ClipReport,
    ClipUpdate,
    ClipValue,
    Percentile,
    Spam,
)
from gradclip_core.lightning import GradientClipping  # noqa: E402
from tests.tolerances import of_mixed_training, of_training  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers")

Trainer = Callable[..., Any]
STEPS, EPOCHS, LR = 8, 2, 0.05
BF16 = of_mixed_training(STEPS, LR, torch.bfloat16)  # to clip moves every weight by ten times that
KINDS = ("weight", "bias")
OPTIMIZERS: dict[str, Callable[[nn.Module], Optimizer]] = {
    "plain": lambda m: AdamW(m.parameters(), LR, fused=False),
    "fused": lambda m: AdamW(m.parameters(), LR, fused=True),
}


class Regression(pl.LightningModule):
    """A small net whose gradient norms spread over the bound of 1; `poison` marks NaN batches."""

    def __init__(self, optimizer: str = "plain", poison: int | None = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
        self.kind = optimizer
        self.poison = poison
        self.absent: int | None = None

    def loss(self, batch: list[Tensor]) -> Tensor:
        return (self.net(batch[0]) * batch[0].norm()).pow(2).mean()

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor | None:
        loss = self.loss(batch)
        if batch_idx == self.absent:
            return None
        return loss * torch.nan if batch_idx == self.poison else loss

    def configure_optimizers(self) -> Any:
        optimizer = OPTIMIZERS[self.kind](self)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)]


class ClipsItself(Regression):
    def configure_gradient_clipping(self, *args: Any, **settings: Any) -> None:
        """A module that brings its own clipping."""


def batches() -> torch.utils.data.DataLoader[Any]:
    inputs = torch.randn(2 * STEPS, 3, generator=torch.Generator().manual_seed(1))
    return torch.utils.data.DataLoader(torch.utils.data.TensorDataset(inputs), batch_size=2)


def weights(module: Any) -> dict[str, Tensor]:
    return copy.deepcopy(dict(module.state_dict()))


def assert_same(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> None:
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


def fitted(trainer: Any, module: Any, **settings: Any) -> dict[str, Tensor]:
    trainer.fit(module, batches(), **settings)
    return weights(module)


def clip_rate(callback: GradientClipping) -> float:
    assert callback.last_report is not None
    return callback.last_report.clip_rate.item()


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("accumulate", [1, 2, 3])
@pytest.mark.parametrize("algorithm", ["norm", "value"])
def test_weights_are_those_of_the_trainers_own_clipping(
    trainer: Trainer, optimizer: str, accumulate: int, algorithm: str
) -> None:
    clipper = ClipNorm(1.0) if algorithm == "norm" else ClipValue(0.5)
    callback = GradientClipping(clipper)
    same: dict[str, Any] = {"accumulate_grad_batches": accumulate, "max_epochs": EPOCHS}
    ours = fitted(trainer(callbacks=[callback], **same), Regression(optimizer))
    theirs = fitted(
        trainer(
            gradient_clip_val=1.0 if algorithm == "norm" else 0.5,
            gradient_clip_algorithm=algorithm,
            **same,
        ),
        Regression(optimizer),
    )
    unclipped = fitted(trainer(**same), Regression(optimizer))
    torch.testing.assert_close(ours, theirs, **of_training(EPOCHS * STEPS, LR))
    assert not torch.allclose(ours["net.0.weight"], unclipped["net.0.weight"], atol=1e-4)
    assert 0 < clip_rate(callback) < 1


def test_bf16_mixed_equals_the_trainers_own_clipping(trainer: Trainer) -> None:
    callback = GradientClipping(ClipNorm(1.0))
    ours = fitted(trainer(callbacks=[callback], precision="bf16-mixed"), Regression())
    theirs = fitted(trainer(gradient_clip_val=1.0, precision="bf16-mixed"), Regression())
    torch.testing.assert_close(ours, theirs, **BF16)
    assert 0 < clip_rate(callback) < 1


def test_bf16_mixed_with_a_fused_optimizer_which_the_trainer_refuses(trainer: Trainer) -> None:
    fused, plain = (
        fitted(
            trainer(callbacks=[GradientClipping(ClipNorm(1.0))], precision="bf16-mixed"),
            Regression(kind),
        )
        for kind in ("fused", "plain")
    )
    torch.testing.assert_close(fused, plain, **BF16)


@pytest.mark.parametrize(("accumulate", "steps"), [(1, 8), (2, 4), (3, 3)])
def test_it_acts_once_for_each_real_step(trainer: Trainer, accumulate: int, steps: int) -> None:
    seen: list[tuple[int, int, ClipReport]] = []
    callback = GradientClipping(ClipNorm(1.0), on_report=lambda *event: seen.append(event))
    fitted(trainer(callbacks=[callback], accumulate_grad_batches=accumulate), Regression())
    assert [(step, index) for step, index, _ in seen] == [(step, 0) for step in range(steps)]
    assert callback.clippers[0].steps.item() == steps
    assert callback.last_report is seen[-1][2]


def test_the_report_names_the_modules_parameters(trainer: Trainer) -> None:
    callback = GradientClipping(ClipNorm(1.0, by={"biases": "bias"}))
    fitted(trainer(callbacks=[callback]), Regression())
    assert callback.last_report is not None
    assert callback.last_report.names == [
        "net.0.weight",
        "net.0.bias",
        "net.2.weight",
        "net.2.bias",
    ]
    assert len(callback.last_report.norms) == 2


@pytest.mark.filterwarnings("ignore:`training_step` returned `None`")
@pytest.mark.parametrize("absent", [0, 4])
def test_a_training_step_without_a_loss_is_passed_by(trainer: Trainer, absent: int) -> None:
    module, twin = Regression(), Regression()
    module.absent = twin.absent = absent
    callback = GradientClipping(ClipNorm(1.0))
    ours = fitted(trainer(callbacks=[callback]), module)
    theirs = fitted(trainer(gradient_clip_val=1.0), twin)
    torch.testing.assert_close(ours, theirs, **of_training(STEPS, LR))
    assert callback.clippers[0].steps.item() == STEPS - 1


@pytest.mark.filterwarnings("ignore:`training_step` returned `None`")
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_skip_leaves_weights_and_optimizer_as_if_the_batch_had_not_been(
    trainer: Trainer, optimizer: str
) -> None:
    poisoned, spared = Regression(optimizer, poison=3), Regression(optimizer)
    spared.absent = 3
    states = []
    for module in (poisoned, spared):
        run = trainer(callbacks=[GradientClipping(ClipNorm(Percentile(50)))])
        fitted(run, module)
        states.append(copy.deepcopy(run.optimizers[0].state_dict()))
    assert_same(weights(poisoned), weights(spared))
    torch.testing.assert_close(*states, rtol=0, atol=0)
    assert states[0]["state"][0]["step"].item() == STEPS - 1


def test_the_first_clipper_stays_as_it_was_given(trainer: Trainer) -> None:
    clipper = ClipNorm(Percentile(50))
    fitted(trainer(callbacks=[GradientClipping(clipper)]), Regression())
    assert clipper.steps.item() == 0


@pytest.mark.parametrize("mode", ["weights_only", "plain"])
def test_a_run_resumes_bit_for_bit_from_its_checkpoint(
    trainer: Trainer, tmp_path: Path, mode: str
) -> None:
    def run(epochs: int) -> tuple[Any, GradientClipping]:
        callback = GradientClipping(ClipNorm(Percentile(40, window=7), by="parameter"))
        return trainer(callbacks=[callback], max_epochs=epochs), callback

    whole, whole_callback = run(4)
    expected = fitted(whole, Regression())
    first, _ = run(2)
    fitted(first, Regression())
    first.save_checkpoint(tmp_path / "half.ckpt")
    second, callback = run(4)
    settings = {"weights_only": True} if mode == "weights_only" else {}
    if not settings.keys() <= inspect.signature(second.fit).parameters.keys():
        pytest.skip("Lightning before 2.6 does not ask")
    assert_same(
        fitted(second, Regression(), ckpt_path=tmp_path / "half.ckpt", **settings), expected
    )
    torch.testing.assert_close(callback.state_dict(), whole_callback.state_dict(), rtol=0, atol=0)
    assert callback.state_dict()["steps"] == 4 * STEPS


def test_the_state_matters_for_the_resumed_run(trainer: Trainer, tmp_path: Path) -> None:
    def run(epochs: int, clipper: Any) -> Any:
        return trainer(callbacks=[GradientClipping(clipper)], max_epochs=epochs)

    first = run(2, ClipNorm(Percentile(40)))
    fitted(first, Regression())
    first.save_checkpoint(tmp_path / "half.ckpt")
    state = torch.load(tmp_path / "half.ckpt", weights_only=True)
    clippers = state["callbacks"]["GradientClipping"]["clippers"]
    assert clippers["0"]["threshold.count"].tolist() == [2 * STEPS]
    clippers.clear()
    torch.save(state, tmp_path / "forgetful.ckpt")
    kept, lost = (
        fitted(run(3, ClipNorm(Percentile(40))), Regression(), ckpt_path=tmp_path / name)
        for name in ("half.ckpt", "forgetful.ckpt")
    )
    assert not torch.equal(kept["net.0.weight"], lost["net.0.weight"])


def test_the_trainers_own_clipping_is_refused(trainer: Trainer) -> None:
    run = trainer(callbacks=[GradientClipping(ClipNorm(1.0))], gradient_clip_val=1.0)
    with pytest.raises(MisconfigurationException, match="remove gradient_clip_val"):
        run.fit(Regression(), batches())


def test_a_module_that_clips_itself_is_refused(trainer: Trainer) -> None:
    run = trainer(callbacks=[GradientClipping(ClipNorm(1.0))])
    with pytest.raises(MisconfigurationException, match=r"ClipsItself.configure_gradient_clip"):
        run.fit(ClipsItself(), batches())


@pytest.mark.parametrize("bad", [None, 1.0, ClipNorm, SGD])
def test_the_clipper_is_checked(bad: Any) -> None:
    with pytest.raises(TypeError, match=r"^clipper must be a Clipper, got "):
        GradientClipping(bad)


@pytest.mark.parametrize("bad", ["module", "", None, 0])
def test_the_scope_is_checked(bad: Any) -> None:
    with pytest.raises(ValueError, match=r"^scope must be 'optimizer' or 'model', got "):
        GradientClipping(ClipNorm(1.0), scope=bad)


def test_after_the_fit_the_optimizer_is_free_again(trainer: Trainer) -> None:
    run = trainer(callbacks=[GradientClipping(ClipUpdate(1e-6))])
    module = Regression()
    fitted(run, module)
    before = module.net[0].weight.detach().clone()
    module.net[0].weight.grad = torch.ones_like(before)
    run.optimizers[0].step()
    assert (module.net[0].weight.detach() - before).norm() > 1e-4


def test_rules_that_need_an_optimizer_say_so(trainer: Trainer) -> None:
    module = Regression()
    module.configure_optimizers = lambda: SGD(module.parameters(), 0.1)  # type: ignore[method-assign]
    with pytest.raises(ValueError, match=r"^Spam reads the second moment .* got SGD$"):
        trainer(callbacks=[GradientClipping(Spam())]).fit(module, batches())
