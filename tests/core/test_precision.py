"""Fused or not, in each precision and each kind of loop: unscale, clip, step."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any

import pytest

pl = pytest.importorskip("lightning.pytorch", reason="lightning is not installed")

import torch  # noqa: E402
from lightning.fabric import Fabric  # noqa: E402
from lightning.fabric.plugins import MixedPrecision as FabricPrecision  # noqa: E402
from lightning.pytorch.plugins import MixedPrecision  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch.optim import SGD, AdamW, Optimizer  # noqa: E402

from gradclip_core import ClipNorm, Clipper, ClipUpdate, ClipValue, optimizers  # noqa: E402
from gradclip_core.lightning import GradientClipping  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers")

STEPS, SCALE = 7, 64.0
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
NAMES = {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}
OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "adamw": lambda p, **kw: AdamW(p, 0.05, **kw),
    "momentum": lambda p, **kw: SGD(p, 0.05, momentum=0.9, **kw),
}
CLIPPERS: dict[str, Callable[[], Clipper]] = {
    "norm": lambda: ClipNorm(0.5),
    "value": lambda: ClipValue(0.1),
    "parameter": lambda: ClipNorm(0.3, by="parameter"),
    "update": lambda: ClipUpdate(0.05),
}
Loop = Callable[..., None]


def make_net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))


def inputs() -> Tensor:
    return torch.randn(STEPS, 2, 3, generator=torch.Generator().manual_seed(1))


def loss_of(net: nn.Module, x: Tensor, step: int, precision: str) -> Tensor:
    """Under fp16 the first and the fourth step overflow."""
    loss: Tensor = (net(x).float() * 3).square().mean()
    return loss * math.inf if precision == "fp16" and step in (0, 3) else loss


def autocast(precision: str) -> Any:
    dtype = DTYPES.get(precision)
    return torch.autocast("cpu", dtype, cache_enabled=False) if dtype else nullcontext()


def scaler_of(precision: str) -> Any:
    return torch.amp.GradScaler("cpu", init_scale=SCALE, enabled=precision == "fp16")


def batches(net: nn.Module, precision: str) -> Iterator[tuple[int, Tensor]]:
    for step, x in enumerate(inputs()):
        with autocast(precision):
            yield step, loss_of(net, x, step, precision)


def plain(net: nn.Module, make: Any, clipper: Clipper, precision: str, fold: bool) -> None:
    optimizer, scaler = make(net.parameters()), scaler_of(precision)
    clipper.attach(optimizer=optimizer)
    if fold:
        clipper.fold_into(optimizer)
    for _, loss in batches(net, precision):
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        clipper(net)
        scaler.step(optimizer)
        scaler.update()


def twin(net: nn.Module, make: Any, clipper: Clipper, precision: str, fold: bool) -> None:
    """An optimizer that clips, which nobody has to unscale for."""
    kind = make([nn.Parameter(torch.zeros(1))])
    setting = {k: v for k, v in kind.defaults.items() if k in ("lr", "momentum", "fused")}
    twin_of = getattr(optimizers, type(kind).__name__)
    optimizer, scaler = twin_of(net.parameters(), clipper=clipper, **setting), scaler_of(precision)
    for _, loss in batches(net, precision):
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()


def fabric(net: nn.Module, make: Any, clipper: Clipper, precision: str, fold: bool) -> None:
    plugin, name = None, NAMES[precision]
    if precision == "fp16":
        plugin, name = FabricPrecision("16-mixed", "cpu", scaler=scaler_of(precision)), None
    run = Fabric(accelerator="cpu", plugins=plugin, precision=name)
    inner = make(net.parameters())
    model, optimizer = run.setup(net, inner)
    clipper.attach(optimizer=inner)
    if fold:
        clipper.fold_into(inner)
    for step, x in enumerate(inputs()):
        optimizer.zero_grad()
        run.backward(loss_of(model, x, step, precision))
        if plugin is not None:
            plugin.scaler.unscale_(inner)
        clipper(net)
        optimizer.step()


class Automatic(pl.LightningModule):
    def __init__(self, net: nn.Module, make: Any, precision: str) -> None:
        super().__init__()
        self.net, self.make, self.kind = net, make, precision

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        return loss_of(self.net, batch[0], batch_idx, self.kind)

    def configure_optimizers(self) -> Optimizer:
        return self.make(self.net.parameters())


class Manual(Automatic):
    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.automatic_optimization = False

    def training_step(self, batch: list[Tensor], batch_idx: int) -> None:
        optimizer = self.optimizers()
        optimizer.zero_grad()
        self.manual_backward(loss_of(self.net, batch[0], batch_idx, self.kind))
        optimizer.step()


def lightning(kind: type[Automatic]) -> Loop:
    def loop(
        net: nn.Module, make: Any, clipper: Clipper, precision: str, fold: bool, told: Any = None
    ) -> None:
        plugins, name = None, NAMES[precision]
        if precision == "fp16":
            plugins, name = [MixedPrecision("16-mixed", "cpu", scaler=scaler_of(precision))], None
        callback = GradientClipping(clipper, fold=fold, on_report=told)
        trainer = pl.Trainer(
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            max_epochs=1,
            precision=name,
            plugins=plugins,
            callbacks=[callback],
        )
        dataset = torch.utils.data.TensorDataset(inputs().flatten(0, 1))
        loader = torch.utils.data.DataLoader(dataset, batch_size=2)
        trainer.fit(kind(net, make, precision), loader)
        assert plugins is None or plugins[0].scaler.get_scale() == SCALE / 4

    return loop


LOOPS: dict[str, Loop] = {
    "plain": plain,
    "twin": twin,
    "fabric": fabric,
    "automatic": lightning(Automatic),
    "manual": lightning(Manual),
}


def reference(name: str, optimizer: str, precision: str) -> nn.Module:
    """Unscale, clip, step, with torch's own clipping where it has it."""
    net = make_net()
    made, scaler = OPTIMIZERS[optimizer](net.parameters(), foreach=True), scaler_of(precision)
    for _, loss in batches(net, precision):
        made.zero_grad()
        scaler.scale(loss).backward()
        scaler.unscale_(made)
        before = [param.detach().clone() for param in net.parameters()]
        clip_by_hand(name, net)
        scaler.step(made)
        scaler.update()
        if name == "update":
            moves = [p.detach() - b for p, b in zip(net.parameters(), before, strict=True)]
            norm = math.sqrt(sum(float(m.square().sum()) for m in moves))
            factor = min(1.0, 0.05 / max(norm, 1e-30))
            for param, old, move in zip(net.parameters(), before, moves, strict=True):
                param.data.copy_(old + factor * move)
    return net


def clip_by_hand(name: str, net: nn.Module) -> None:
    if name == "norm":
        nn.utils.clip_grad_norm_(net.parameters(), 0.5)
    elif name == "value":
        nn.utils.clip_grad_value_(net.parameters(), 0.1)
    elif name == "parameter":
        for param in net.parameters():
            nn.utils.clip_grad_norm_(param, 0.3)


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("precision", NAMES)
@pytest.mark.parametrize(
    ("name", "optimizer"),
    [("norm", "adamw"), ("norm", "momentum"), ("value", "momentum"), ("update", "adamw")],
)
def test_weights_are_those_of_unscale_clip_step(
    name: str, optimizer: str, precision: str, fused: bool, loop: str
) -> None:
    net = make_net()
    start = copy.deepcopy(net)
    clipper = CLIPPERS[name]()

    def make(params: Any) -> Optimizer:
        return OPTIMIZERS[optimizer](params, fused=fused)

    LOOPS[loop](net, make, clipper, precision, True)
    expected = reference(name, optimizer, precision)
    torch.testing.assert_close(
        dict(net.state_dict()), dict(expected.state_dict()), rtol=1e-3, atol=1e-5
    )
    assert not torch.allclose(net[0].weight, start[0].weight, atol=1e-2)


@pytest.mark.parametrize("kind", [Automatic, Manual])
@pytest.mark.parametrize("fold", [False, True])
@pytest.mark.parametrize("name", ["norm", "parameter"])
def test_the_callback_folds_where_it_can_and_was_not_told_not_to(
    name: str, fold: bool, kind: type[Automatic]
) -> None:
    paths: list[str] = []
    lightning(kind)(
        make_net(),
        lambda params: AdamW(params, 0.05, fused=True),
        CLIPPERS[name](),
        "fp16",
        fold,
        lambda step, index, report: paths.append(report.path),
    )
    assert len(paths) == STEPS
    expected = "folded" if fold and name == "norm" else "in place"
    assert set(paths) == {"none", expected}
