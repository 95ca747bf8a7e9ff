"""The callback in manual optimisation and under fp16: equal to loops written by hand."""

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
from torch.optim import SGD, AdamW, Optimizer  # noqa: E402

from gradclip_core import ClipNorm, Clipper, ClipReport, Percentile  # noqa: E402
from gradclip_core.lightning import GradientClipping  # noqa: E402
from tests.tolerances import of_mixed_training, of_training  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers")

Trainer = Callable[..., Any]
STEPS = 6
SCALE = 64.0
LR = 0.05
FP16 = of_mixed_training(STEPS, LR, torch.float16)


def make_nets() -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    return nn.Linear(3, 2), nn.Linear(3, 2)


def make_optimizers(first: nn.Module, second: nn.Module, fused: bool) -> list[Optimizer]:
    return [
        AdamW(first.parameters(), LR, fused=fused),
        SGD(second.parameters(), 0.02, momentum=0.9, fused=fused),
    ]


def losses(first: nn.Module, second: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """Two losses of very different size; the first one also reaches the second net."""
    return (first(x) + second(x)).pow(2).mean(), 30 * second(x).pow(2).mean()


class Duel(pl.LightningModule):
    """Two nets with an optimizer each, stepped in turn by hand, each after its own backward."""

    def __init__(self, *, fused: bool = False, every: int = 1) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.first, self.second = make_nets()
        self.fused = fused
        self.every = every

    def training_step(self, batch: list[Tensor], batch_idx: int) -> None:
        for index, optimizer in enumerate(self.optimizers()):
            self.manual_backward(losses(self.first, self.second, batch[0])[index])
            if (batch_idx + 1) % self.every == 0:
                optimizer.step()
                optimizer.zero_grad()

    def configure_optimizers(self) -> list[Optimizer]:
        return make_optimizers(self.first, self.second, self.fused)


class Joint(Duel):
    """One backward for both nets, then both optimizers step."""

    def training_step(self, batch: list[Tensor], batch_idx: int) -> None:
        self.manual_backward(sum(losses(self.first, self.second, batch[0])))
        for optimizer in self.optimizers():
            optimizer.step()
        for optimizer in self.optimizers():
            optimizer.zero_grad()


class Single(pl.LightningModule):
    """One optimizer, stepped by Lightning."""

    def __init__(self, *, fused: bool = False) -> None:
        super().__init__()
        self.first, self.second = make_nets()
        self.fused = fused

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        return sum(losses(self.first, self.second, batch[0]))

    def configure_optimizers(self) -> Optimizer:
        return SGD(self.parameters(), LR, momentum=0.9, fused=self.fused)


def inputs() -> Tensor:
    return torch.randn(STEPS, 2, 3, generator=torch.Generator().manual_seed(1))


def batches() -> torch.utils.data.DataLoader[Any]:
    dataset = torch.utils.data.TensorDataset(inputs().flatten(0, 1))
    return torch.utils.data.DataLoader(dataset, batch_size=2)


def fitted(trainer: Any, module: Any) -> list[Tensor]:
    trainer.fit(module, batches())
    return [param.detach() for param in module.parameters()]


def by_hand(clip: Callable[[int, list[nn.Module]], None], fused: bool, every: int) -> list[Tensor]:
    """The loop of Duel; `clip(index, nets)` is called before each step."""
    nets = make_nets()
    optimizers = make_optimizers(*nets, fused)
    for step, x in enumerate(inputs(), start=1):
        for index, optimizer in enumerate(optimizers):
            losses(*nets, x)[index].backward()
            if step % every == 0:
                clip(index, list(nets))
                optimizer.step()
                optimizer.zero_grad()
    return [param.detach() for net in nets for param in net.parameters()]


def assert_close(ours: list[Tensor], theirs: list[Tensor]) -> None:
    torch.testing.assert_close(ours, theirs, **of_training(STEPS, LR))


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("every", [1, 2])
def test_each_optimizer_is_clipped_as_by_hand(trainer: Trainer, fused: bool, every: int) -> None:
    callback = GradientClipping(ClipNorm(0.5))
    ours = fitted(trainer(callbacks=[callback]), Duel(fused=fused, every=every))

    def clip(index: int, nets: list[nn.Module]) -> None:
        nn.utils.clip_grad_norm_(nets[index].parameters(), 0.5)

    assert_close(ours, by_hand(clip, fused, every))
    untouched = by_hand(lambda index, nets: None, fused, every)
    assert not torch.allclose(ours[0], untouched[0], atol=1e-3)
    assert [clipper.steps.item() for clipper in callback.clippers] == [STEPS // every] * 2


def test_each_optimizer_has_a_state_of_its_own(trainer: Trainer) -> None:
    callback = GradientClipping(ClipNorm(Percentile(50, window=3)))
    ours = fitted(trainer(callbacks=[callback]), Duel())
    clippers = [ClipNorm(Percentile(50, window=3)) for _ in range(2)]

    def clip(index: int, nets: list[nn.Module]) -> None:
        clippers[index](nets[index])

    assert_close(ours, by_hand(clip, fused=False, every=1))
    first, second = (clipper.threshold.history for clipper in callback.clippers)
    assert (second > 2 * first).all()


def test_the_states_of_several_clippers_are_restored(trainer: Trainer) -> None:
    callback = GradientClipping(ClipNorm(Percentile(50)))
    fitted(trainer(callbacks=[callback]), Duel())
    restored = GradientClipping(ClipNorm(Percentile(50)))
    restored.load_state_dict(copy.deepcopy(callback.state_dict()))
    torch.testing.assert_close(restored.state_dict(), callback.state_dict(), rtol=0, atol=0)
    assert len(restored.clippers) == 2


def test_the_scope_model_clips_all_parameters_before_each_step(trainer: Trainer) -> None:
    callback = GradientClipping(ClipNorm(0.5), scope="model")
    ours = fitted(trainer(callbacks=[callback]), Duel())

    def clip(index: int, nets: list[nn.Module]) -> None:
        nn.utils.clip_grad_norm_([p for net in nets for p in net.parameters()], 0.5)

    assert_close(ours, by_hand(clip, fused=False, every=1))
    assert [clipper.steps.item() for clipper in callback.clippers] == [2 * STEPS]


def test_the_scope_model_clips_once_for_one_backward_and_two_steps(trainer: Trainer) -> None:
    callback = GradientClipping(ClipNorm(Percentile(0)), scope="model")
    ours = fitted(trainer(callbacks=[callback]), Joint())
    nets, clipper = make_nets(), ClipNorm(Percentile(0))
    both, optimizers = nn.ModuleList(nets), make_optimizers(*nets, fused=False)
    for x in inputs():
        sum(losses(*nets, x)).backward()
        clipper(both)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
    assert_close(ours, list(both.parameters()))
    assert callback.clippers[0].steps.item() == STEPS


class Mixed(Duel):
    """The second optimizer takes parameters of both nets: no module is all of its own."""

    def configure_optimizers(self) -> list[Optimizer]:
        return [
            SGD([self.first.weight], 0.01),
            SGD([self.first.bias, *self.second.parameters()], 0.01),
        ]


@pytest.mark.parametrize(
    ("module", "names"), [(Duel, ("first", "second")), (Mixed, ("first", "1"))]
)
def test_several_optimizers_log_under_the_names_of_what_they_train(
    trainer: Trainer, module: Any, names: tuple[str, str]
) -> None:
    reports: dict[int, ClipReport] = {}
    callback = GradientClipping(
        ClipNorm(0.5), on_report=lambda _, index, report: reports.update({index: report})
    )
    run = trainer(callbacks=[callback])
    fitted(run, module())
    for index, name in enumerate(names):
        logged = run.logged_metrics[f"grad/{name}/norm"].item()
        assert logged == pytest.approx(reports[index].norm.item(), rel=1e-6)


def fp16() -> MixedPrecision:
    """Mixed precision with a loss scale that is really applied, also on a CPU."""
    return MixedPrecision("16-mixed", "cpu", scaler=torch.amp.GradScaler("cpu", init_scale=SCALE))


def scaled_by_hand(poison: int | None = None) -> list[Tensor]:
    """Scale, backward, unscale, clip, step: the reference of PyTorch's documentation."""
    nets = nn.ModuleList(make_nets())
    optimizer = SGD(nets.parameters(), LR, momentum=0.9)
    scaler = torch.amp.GradScaler("cpu", init_scale=SCALE)
    for step, x in enumerate(inputs()):
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype=torch.half, cache_enabled=False):
            loss = sum(losses(*nets, x))
        loss = loss * torch.inf if step == poison else loss
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(nets.parameters(), 0.5)
        scaler.step(optimizer)
        scaler.update()
    return [param.detach() for param in nets.parameters()]


def test_fp16_is_clipped_after_unscaling(trainer: Trainer) -> None:
    callback = GradientClipping(ClipNorm(0.5))
    ours = fitted(trainer(callbacks=[callback], plugins=[fp16()]), Single())
    torch.testing.assert_close(ours, scaled_by_hand(), **FP16)
    assert callback.clippers[0].clipped_steps.item() == STEPS


class Overflowing(Single):
    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        loss = super().training_step(batch, batch_idx)
        return loss * torch.inf if batch_idx == 2 else loss


def test_an_overflow_under_fp16_is_skipped_and_lowers_the_loss_scale(trainer: Trainer) -> None:
    plugin = fp16()
    callback = GradientClipping(ClipNorm(0.5))
    ours = fitted(trainer(callbacks=[callback], plugins=[plugin]), Overflowing())
    torch.testing.assert_close(ours, scaled_by_hand(poison=2), **FP16)
    assert plugin.scaler is not None
    assert plugin.scaler.get_scale() == SCALE / 2
    assert callback.clippers[0].clipped_steps.item() == STEPS - 1


def test_the_whole_model_of_two_optimizers_under_fp16_is_refused(trainer: Trainer) -> None:
    callback = GradientClipping(ClipNorm(0.5), scope="model")
    with pytest.raises(MisconfigurationException, match='scope="model" under 16-mixed'):
        trainer(callbacks=[callback], plugins=[fp16()]).fit(Duel(), batches())


def test_two_optimizers_under_fp16_are_clipped_after_unscaling(trainer: Trainer) -> None:
    norms = []
    for plugins in ([fp16()], None):
        run = trainer(callbacks=[GradientClipping(ClipNorm(0.5))], plugins=plugins)
        fitted(run, Duel())
        norms.append(
            [run.logged_metrics[f"grad/{name}/norm"].item() for name in ("first", "second")]
        )
    assert norms[0] == pytest.approx(norms[1], rel=0.05)


class Watching(Clipper):
    """Keeps the losses that it was given."""

    def forward(self, parameters: Any, *, loss: Tensor | None = None) -> ClipReport:
        watched.append(loss)
        return ClipNorm(1.0)(parameters)


watched: list[Any] = []


def test_one_backward_gives_its_loss_to_both_optimizers(trainer: Trainer) -> None:
    watched.clear()
    fitted(trainer(callbacks=[GradientClipping(Watching())]), Joint())
    assert len(watched) == 2 * STEPS
    assert all(torch.equal(*pair) for pair in zip(watched[::2], watched[1::2], strict=True))
    assert len({loss.item() for loss in watched}) == STEPS
