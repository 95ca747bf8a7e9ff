"""One training in every kind of loop and precision; each returns the paths its records tell of."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import lightning.pytorch as pl
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from lightning.fabric import Fabric
from lightning.fabric.plugins import MixedPrecision as FabricPrecision
from lightning.pytorch.plugins import MixedPrecision
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import Dataset, SequentialSampler

from apps.base.torchaudio_import import import_torchaudio
from gradclip_core import Clipper
from gradclip_core.lightning import GradientClipping
from gradclip_core.optimizers import clipped

import_torchaudio()  # which transformers imports, and could not where it is built for CUDA alone

from transformers import Trainer, TrainerCallback, TrainingArguments  # noqa: E402

STEPS, SCALE, OVERFLOWS = 7, 64.0, (0, 3)  # the last: steps whose loss is inf under fp16
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
NAMES = {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}


@dataclass(frozen=True)
class Kind:
    """A class of optimizers with its settings."""

    base: type[Optimizer]
    settings: dict[str, Any]

    def plain(self, params: Any) -> Optimizer:
        return self.base(params, **self.settings)

    def twin(self, params: Any, clipper: Clipper) -> Optimizer:
        made: Optimizer = clipped(self.base)(params, clipper=clipper, **self.settings)
        return made


Loop = Callable[[nn.Module, Kind, Clipper, str, bool], list[str]]


def make_net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))


def inputs() -> Tensor:
    return torch.randn(STEPS, 2, 3, generator=torch.Generator().manual_seed(1))


def loss_of(net: nn.Module, x: Tensor, step: int, precision: str) -> Tensor:
    loss: Tensor = (net(x).float() * 3).square().mean()
    return loss * math.inf if precision == "fp16" and step in OVERFLOWS else loss


def scaler_of(precision: str) -> Any:
    return torch.amp.GradScaler("cpu", init_scale=SCALE, enabled=precision == "fp16")


def losses(net: nn.Module, precision: str) -> Iterator[Tensor]:
    dtype = DTYPES.get(precision)
    for step, x in enumerate(inputs()):
        with torch.autocast("cpu", dtype, cache_enabled=False) if dtype else nullcontext():
            yield loss_of(net, x, step, precision)


def plain(net: nn.Module, kind: Kind, clipper: Clipper, precision: str, fold: bool) -> list[str]:
    optimizer, scaler = kind.plain(net.parameters()), scaler_of(precision)
    paths = _noting(optimizer, clipper.attach(optimizer=optimizer))
    folds = fold and clipper.fold_into(optimizer, scaler)
    for loss in losses(net, precision):
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        if not folds:
            scaler.unscale_(optimizer)
        clipper(net)
        scaler.step(optimizer)
        scaler.update()
    return paths


def twin(net: nn.Module, kind: Kind, clipper: Clipper, precision: str, fold: bool) -> list[str]:
    optimizer, scaler = kind.twin(net.parameters(), clipper), scaler_of(precision)
    paths = _noting(optimizer, clipper)
    for loss in losses(net, precision):
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
    return paths


def fabric(net: nn.Module, kind: Kind, clipper: Clipper, precision: str, fold: bool) -> list[str]:
    plugin, scaler = None, scaler_of(precision)
    if precision == "fp16":
        plugin = FabricPrecision("16-mixed", "cpu", scaler=scaler)
    run = Fabric(accelerator="cpu", plugins=plugin, precision=None if plugin else NAMES[precision])
    inner = kind.plain(net.parameters())
    model, optimizer = run.setup(net, inner)
    paths = _noting(inner, clipper.attach(optimizer=inner))
    folds = fold and clipper.fold_into(inner, scaler)
    for step, x in enumerate(inputs()):
        optimizer.zero_grad()
        run.backward(loss_of(model, x, step, precision))
        if not folds:
            scaler.unscale_(inner)
        clipper(net)
        optimizer.step()
    return paths


class Automatic(pl.LightningModule):
    def __init__(self, net: nn.Module, kind: Kind, precision: str) -> None:
        super().__init__()
        self.net, self.kind, self.kind_of_numbers = net, kind, precision

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Any:
        return loss_of(self.net, batch[0], batch_idx, self.kind_of_numbers)

    def configure_optimizers(self) -> Optimizer:
        return self.kind.plain(self.net.parameters())


class Manual(Automatic):
    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.automatic_optimization = False

    def training_step(self, batch: list[Tensor], batch_idx: int) -> None:
        optimizer = self.optimizers()
        optimizer.zero_grad()
        self.manual_backward(loss_of(self.net, batch[0], batch_idx, self.kind_of_numbers))
        optimizer.step()


def lightning(module: type[Automatic]) -> Loop:
    def loop(net: nn.Module, kind: Kind, clipper: Clipper, precision: str, fold: bool) -> list[str]:
        scaler, paths, plugins = scaler_of(precision), [], None
        if precision == "fp16":
            plugins = [MixedPrecision("16-mixed", "cpu", scaler=scaler)]
        trainer = pl.Trainer(
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            max_epochs=1,
            precision=None if plugins else NAMES[precision],
            plugins=plugins,
            callbacks=[
                GradientClipping(clipper, fold=fold, on_report=lambda *told: paths.append(told[2]))
            ],
        )
        dataset = torch.utils.data.TensorDataset(inputs().flatten(0, 1))
        loader = torch.utils.data.DataLoader(dataset, batch_size=2)
        trainer.fit(module(net, kind, precision), loader)
        assert plugins is None or scaler.get_scale() == SCALE / 4
        return [report.path for report in paths]

    return loop


def _accelerator(precision: str) -> Accelerator:
    AcceleratorState._reset_state(True)
    accelerator = Accelerator(cpu=True, mixed_precision="no" if precision == "fp32" else precision)
    if precision == "fp16":
        _scale(accelerator)
    return accelerator


def _scale(accelerator: Accelerator) -> None:
    """Scale on the CPU, too: Accelerate offers it on GPUs alone, though nothing in it is of one."""
    accelerator.scaler = scaler_of("fp16")
    accelerator.native_amp = True


def accelerate(
    net: nn.Module, kind: Kind, clipper: Clipper, precision: str, fold: bool
) -> list[str]:
    accelerator, inner = _accelerator(precision), kind.plain(net.parameters())
    model, optimizer = accelerator.prepare(net, inner)
    paths = _noting(inner, clipper.attach(optimizer=inner))
    folds = fold and clipper.fold_into(inner, accelerator.scaler)
    for step, x in enumerate(inputs()):
        optimizer.zero_grad()
        accelerator.backward(loss_of(model, x, step, precision))
        if not folds:
            accelerator.unscale_gradients()
        clipper(net)
        optimizer.step()
    return paths


def accelerate_twin(
    net: nn.Module, kind: Kind, clipper: Clipper, precision: str, fold: bool
) -> list[str]:
    accelerator, inner = _accelerator(precision), kind.twin(net.parameters(), clipper)
    paths = _noting(inner, clipper)
    model, optimizer = accelerator.prepare(net, inner)
    for step, x in enumerate(inputs()):
        optimizer.zero_grad()
        accelerator.backward(loss_of(model, x, step, precision))
        optimizer.step()
    return paths


class Rows(Dataset[dict[str, Tensor]]):
    def __len__(self) -> int:
        return STEPS * 2

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"x": inputs().flatten(0, 1)[index], "step": torch.tensor(index // 2)}


class WithLoss(nn.Module):
    def __init__(self, net: nn.Module, precision: str) -> None:
        super().__init__()
        self.net, self.precision = net, precision

    def forward(self, x: Tensor, step: Tensor) -> dict[str, Tensor]:
        return {"loss": loss_of(self.net, x, int(step[0]), self.precision)}


class InOrder(Trainer):
    def _get_train_sampler(self, *_: Any) -> SequentialSampler:
        return SequentialSampler(self.train_dataset)


class _Noting(TrainerCallback):
    """Notes the paths from the optimizer that a Trainer made itself."""

    def __init__(self, clipper: Clipper) -> None:
        self.clipper, self.paths = clipper, []

    def on_train_begin(self, *args: Any, optimizer: Any = None, **kwargs: Any) -> None:
        self.paths = _noting(optimizer.optimizer, self.clipper)


def transformers(
    net: nn.Module, kind: Kind, clipper: Clipper, precision: str, fold: bool
) -> list[str]:
    AcceleratorState._reset_state(True)
    told = _Noting(clipper)
    arguments = TrainingArguments(
        output_dir="unused",
        use_cpu=True,
        per_device_train_batch_size=2,
        num_train_epochs=1,
        max_grad_norm=0,
        lr_scheduler_type="constant",
        fp16=precision == "fp16",
        bf16=precision == "bf16",
        save_strategy="no",
        logging_strategy="no",
        report_to=[],
        disable_tqdm=True,
    )
    settings = {**kind.settings, "clipper": clipper}
    trainer = InOrder(
        WithLoss(net, precision),
        arguments,
        train_dataset=Rows(),
        optimizer_cls_and_kwargs=(clipped(kind.base), settings),
        callbacks=[told],
    )
    if precision == "fp16":
        _scale(trainer.accelerator)
    trainer.train()
    return told.paths


def _noting(optimizer: Optimizer, clipper: Clipper) -> list[str]:
    """The list to which every step adds the path of its record."""
    paths: list[str] = []
    optimizer.register_step_post_hook(lambda *_: paths.append(clipper.last_report.path))
    return paths


LOOPS: dict[str, Loop] = {
    "plain": plain,
    "twin": twin,
    "fabric": fabric,
    "automatic": lightning(Automatic),
    "manual": lightning(Manual),
    "accelerate": accelerate,
    "accelerate twin": accelerate_twin,
    "transformers": transformers,
}
