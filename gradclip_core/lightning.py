"""Clipping inside a Lightning Trainer, in automatic and manual optimisation alike."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from typing import Any, Literal, TypeAlias

import lightning.pytorch as pl
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.strategies import DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from gradclip_core.clipper import Clipper
from gradclip_core.parts.per_parameter import PerParameter
from gradclip_core.report import ClipReport

OnReport: TypeAlias = Callable[[int, int, ClipReport], None]


class GradientClipping(pl.Callback):
    """Clips once per optimizer step, after accumulation and AMP unscaling, and logs what it did.

    clipper: the rule. With several optimizers each gets its own copy, and with it a state of its
        own, unless `scope` is "model".
    scope: "optimizer" clips the parameters of the stepping optimizer; "model" clips all
        parameters of the module together, once after each backward pass.
    fold: whether fused optimizers scale the gradients in their step where a clipper allows it
        (`Clipper.fold_into`); then other callbacks see the gradients unclipped.
    log_prefix: prefix of the metrics logged through the module (`grad/norm`, `grad/clipped_norm`,
        ...; with several optimizers `grad/0/norm`, ...); None logs nothing.
    on_report: called with (optimizer step, index of the optimizer, report) after each clip.

    The state of every clipper is saved in the checkpoint and restored from it. `last_report`
    holds the report of the latest step. Raises MisconfigurationException beside the Trainer's
    `gradient_clip_val` or a module that overrides `configure_gradient_clipping`, since gradients
    would be clipped twice, under FSDP1 and DeepSpeed, and for several optimizers under the scope
    "model" with "16-mixed", where the gradients of the others still carry the loss scale.
    Gradients of fused optimizers, which Lightning leaves scaled, are unscaled here, or in the step
    that they are folded into.
    A clipper that needs samples takes each batch apart with the module's `loss(batch)`, which
    must be what `training_step` returns, and its gradients replace the ordinary ones; with one
    optimizer, one process and no loss scale.
    """

    def __init__(
        self,
        clipper: Clipper,
        *,
        scope: Literal["optimizer", "model"] = "optimizer",
        fold: bool = True,
        log_prefix: str | None = "grad/",
        on_report: OnReport | None = None,
    ) -> None:
        if not isinstance(clipper, Clipper):
            raise TypeError(f"clipper must be a Clipper, got {type(clipper).__name__}")
        if scope not in ("optimizer", "model"):
            raise ValueError(f"scope must be 'optimizer' or 'model', got {scope!r}")
        self.scope = scope
        self.fold = fold
        self.log_prefix = log_prefix
        self.on_report = on_report
        self.last_report: ClipReport | None = None
        self._template = clipper
        self._clippers: dict[int, Clipper] = {}
        self._steps = 0
        self._fresh = False
        self._had_backward = False
        self._folding: set[int] = set()  # optimizers whose clipper sees to the loss scale
        self._loss: Tensor | None = None
        self._batch: Any = None
        self._earlier: list[tuple[nn.Parameter, Tensor | None]] = []
        # (step, index of the optimizer, report) of rules whose work is done inside `step()`.
        self._pending: list[tuple[int, int, ClipReport]] = []
        self._handles: list[RemovableHandle] = []

    @property
    def clippers(self) -> list[Clipper]:
        """The clippers in use, one per optimizer (one in all for the scope "model")."""
        return [self._clipper(index) for index in sorted(self._clippers) or [0]]

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Refuse a set-up in which somebody else clips as well."""
        if stage != "fit":
            return
        if trainer.gradient_clip_val is not None:
            raise MisconfigurationException(
                f"gradient_clip_val={trainer.gradient_clip_val} of the Trainer and the callback "
                "GradientClipping would both clip: remove gradient_clip_val"
            )
        refuse_strategy(trainer, self._template)
        if is_overridden("configure_gradient_clipping", pl_module, pl.LightningModule):
            raise MisconfigurationException(
                f"{type(pl_module).__name__}.configure_gradient_clipping and the callback "
                "GradientClipping would both clip: remove one of them"
            )

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Refuse a set-up that cannot work; attach the clippers to module and optimizers."""
        self._refuse_scaled(trainer)
        if self._template.needs_samples:
            refuse_samples(trainer, pl_module)
        if self.scope == "model" and len(trainer.optimizers) > 1:
            self._clipper(0).attach(model=pl_module)
            return
        for index, optimizer in enumerate(trainer.optimizers):
            clipper = self._clipper(index).attach(model=pl_module, optimizer=optimizer)
            scaler = getattr(trainer.precision_plugin, "scaler", None)
            if self.fold and clipper.fold_into(optimizer, scaler):
                self._folding.add(index)
            if clipper.acts_in_step:
                hook = functools.partial(self._complete, index)
                self._handles.append(optimizer.register_step_post_hook(hook))

    def _refuse_scaled(self, trainer: pl.Trainer) -> None:
        """Refuse a set-up in which gradients would be clipped while they carry the loss scale."""
        if getattr(trainer.precision_plugin, "scaler", None) is None:
            return
        if self.scope == "model" and len(trainer.optimizers) > 1:
            raise MisconfigurationException(
                'scope="model" under 16-mixed precision would clip the gradients of other '
                'optimizers while they carry the loss scale: use scope="optimizer", or '
                "precision bf16-mixed"
            )

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Take back what `on_fit_start` attached."""
        for clipper in self._clippers.values():
            clipper.detach()
        self._folding.clear()
        while self._handles:
            self._handles.pop().remove()

    def on_before_backward(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor
    ) -> None:
        """Add the loss up over the backward passes of one optimizer step."""
        if self._template.needs_samples:
            self._earlier = [(param, param.grad) for param in pl_module.parameters()]
            for param, _ in self._earlier:
                param.grad = None
        loss = loss.detach()
        scaler = getattr(trainer.precision_plugin, "scaler", None)
        if scaler is not None and scaler.is_enabled():
            loss = loss / scaler._get_scale_async()
        self._loss = self._loss + loss if self._fresh and self._loss is not None else loss

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Wait for the backward pass of this batch; keep it if its samples are needed."""
        self._had_backward = False
        self._batch = batch if self._template.needs_samples else None

    def on_after_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Note that there are gradients which were not clipped yet, or clip those of samples."""
        self._fresh = True
        self._had_backward = True
        for param, grad in self._earlier:
            param.grad = grad
        self._earlier = []
        if self._template.needs_samples:
            clipper: Any = self._clipper(0)
            with trainer.precision_plugin.forward_context():
                weight = 1 / trainer.accumulate_grad_batches
                clipper.backward(pl_module.loss, self._batch, weight=weight)

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Optimizer
    ) -> None:
        """Clip, log and hand out the report."""
        whole_model = self.scope == "model"
        if (whole_model and not self._fresh) or self._lacks_backward(trainer, pl_module):
            return
        self._fresh = False
        index = 0 if whole_model else _index(trainer.optimizers, optimizer)
        if index not in self._folding:
            self._unscale(trainer, optimizer)
        clipper = self._clipper(index)
        parameters = pl_module if whole_model else _named_groups(pl_module, optimizer)
        report = clipper(parameters, loss=self._loss)
        if clipper.acts_in_step:
            self._pending.append((self._steps, index, report))
        else:
            self._publish(trainer, self._steps, index, report)
        self._steps += 1

    def _lacks_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> bool:
        """Whether Lightning, with a GradScaler, makes no step: the batch had no loss."""
        scaled = getattr(trainer.precision_plugin, "scaler", None) is not None
        return scaled and pl_module.automatic_optimization and not self._had_backward

    def _unscale(self, trainer: pl.Trainer, optimizer: Optimizer) -> None:
        """Unscale what Lightning leaves to fused optimizers."""
        scaler = getattr(trainer.precision_plugin, "scaler", None)
        inner = getattr(optimizer, "optimizer", optimizer)
        if scaler is not None and getattr(inner, "_step_supports_amp_scaling", False):
            scaler.unscale_(inner)

    def _complete(self, index: int, *_: Any) -> None:
        """After a step of optimizer `index`: its report now says what became of the update."""
        report = self._clipper(index).last_report
        places = [i for i, pending in enumerate(self._pending) if pending[1] == index]
        if places and report is not None:
            self._pending[places[-1]] = self._pending[places[-1]][0], index, report

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any
    ) -> None:
        """Publish the reports that were complete only after the step."""
        self._batch = None
        if not self._fresh:
            self._loss = None
        while self._pending:
            self._publish(trainer, *self._pending.pop(0))

    def _publish(self, trainer: pl.Trainer, step: int, index: int, report: ClipReport) -> None:
        self.last_report = report
        self._log(trainer.lightning_module, report, index, len(trainer.optimizers))
        if self.on_report is not None:
            self.on_report(step, index, report)

    def _clipper(self, index: int) -> Clipper:
        if index not in self._clippers:
            self._clippers[index] = copy.deepcopy(self._template)
        return self._clippers[index]

    def _log(
        self, pl_module: pl.LightningModule, report: ClipReport, index: int, num_optimizers: int
    ) -> None:
        if self.log_prefix is None:
            return
        several = num_optimizers > 1 and self.scope == "optimizer"
        prefix = f"{self.log_prefix}{index}/" if several else self.log_prefix
        pl_module.log_dict(report.metrics(prefix), on_step=True, on_epoch=False, batch_size=1)

    def state_dict(self) -> dict[str, Any]:
        """The state of every clipper, as tensors and integers."""
        states = {str(index): c.state_dict() for index, c in self._clippers.items()}
        return {"steps": self._steps, "clippers": {k: dict(v) for k, v in states.items()}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self._steps = state_dict["steps"]
        for index, state in state_dict["clippers"].items():
            self._clipper(int(index)).load_state_dict(state)


def refuse_strategy(trainer: pl.Trainer, clipper: Clipper) -> None:
    """Raise MisconfigurationException for a strategy under which the clipper would go wrong."""
    strategy, name = trainer.strategy, type(trainer.strategy).__name__
    if isinstance(strategy, (FSDPStrategy, DeepSpeedStrategy)):
        raise MisconfigurationException(
            f"{name} hides how it shards gradients, so that GradientClipping would measure those "
            "of one process: use ModelParallelStrategy (FSDP2) or DDPStrategy"
        )
    keeps = [type(m).__name__ for m in clipper.modules() for c in m.children() if _is_large(c)]
    if keeps and isinstance(strategy, ModelParallelStrategy):
        raise MisconfigurationException(
            f"{keeps[0]} keeps a tensor for each parameter, of which a checkpoint under {name} "
            "would hold the shards of one process: use DDPStrategy, or a rule that keeps norms"
        )


def _is_large(module: nn.Module) -> bool:
    return isinstance(module, PerParameter)


def refuse_samples(trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
    """Raise MisconfigurationException where a batch cannot be taken apart into samples."""
    scaled = getattr(trainer.precision_plugin, "scaler", None) is not None
    for wrong, instead in (
        (len(trainer.optimizers) != 1, f"{len(trainer.optimizers)} optimizers"),
        (trainer.world_size != 1, f"{trainer.world_size} processes"),
        (scaled, "the loss scale of 16-mixed"),
        (not callable(getattr(pl_module, "loss", None)), "no method loss(batch) in the module"),
    ):
        if wrong:
            raise MisconfigurationException(
                "clipping by samples needs one optimizer, one process, a precision without a "
                f"loss scale and a module with loss(batch), got {instead}"
            )


def _index(optimizers: list[Optimizer], optimizer: Optimizer) -> int:
    """Position of an optimizer in the Trainer's list, seen through Lightning's wrapper."""
    inner = getattr(optimizer, "optimizer", optimizer)
    return next(i for i, known in enumerate(optimizers) if known is inner or known is optimizer)


def _named_groups(module: nn.Module, optimizer: Optimizer) -> list[dict[str, Any]]:
    names = {id(param): name for name, param in module.named_parameters()}
    return [
        {
            "params": group["params"],
            "param_names": [names.get(id(param)) for param in group["params"]],
        }
        for group in optimizer.param_groups
    ]
