"""Clipping inside a Lightning Trainer, in automatic and manual optimisation alike."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from typing import Any, Literal, TypeAlias

from torch import Tensor, nn
from torch.optim import Optimizer

from gradclip_core.checks import check_instance
from gradclip_core.clipper import Clipper
from gradclip_core.lightning import refusals
from gradclip_core.lightning.packages import Callback
from gradclip_core.lightning.tuning import Shared, Tuning
from gradclip_core.report import ClipReport
from gradclip_core.stepping.naming import Names, common_module
from gradclip_core.stepping.step_hooks import StepHooks

OnReport: TypeAlias = Callable[[int, int, ClipReport], None]


class GradientClipping(Callback):
    """Clips once per optimizer step, after accumulation and AMP unscaling, and logs what it did.

    Examples:
        >>> from lightning.pytorch import Trainer
        >>> from gradclip_core import ClipNorm
        >>> from gradclip_core.lightning import GradientClipping
        >>> trainer = Trainer(callbacks=[GradientClipping(ClipNorm(1.0))], logger=False)

    Args:
        clipper: the rule. With several optimizers each gets its own copy, and with it a state of
            its own, unless `scope` is "model".
        scope: "optimizer" clips the parameters of the stepping optimizer; "model" clips all
            parameters of the module together, once after each backward pass.
        fold: whether fused optimizers scale the gradients in their step where a clipper allows it
            (`Clipper.fold_into`); then other callbacks see the gradients unclipped.
        log_prefix: prefix of the metrics logged through the module (`grad/norm`,
            `grad/clipped_norm`, ...; with several optimizers `grad/0/norm`, ...); None logs
            nothing.
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
        check_instance("clipper", clipper, Clipper)
        if scope not in ("optimizer", "model"):
            raise ValueError(f"scope must be 'optimizer' or 'model', got {scope!r}")
        self.scope = scope
        self.fold = fold
        self.log_prefix = log_prefix
        self.on_report = on_report
        self._last = Shared()
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
        self._handles: list[StepHooks] = []
        self._names: dict[int, Names] = {}
        self._prefixes: list[str] = [""]
        self._tuning = Tuning(self)

    @property
    def last_report(self) -> ClipReport | None:
        """What the latest step did, of this callback or of a copy of it; None before the first."""
        return self._last.report

    @property
    def clippers(self) -> list[Clipper]:
        """The clippers in use, one per optimizer (one in all for the scope "model")."""
        return [self._clipper(index) for index in sorted(self._clippers) or [0]]

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Refuse a set-up in which somebody else clips as well."""
        if stage != "fit":
            return
        refusals.refuse_second_clip(trainer, pl_module)
        refusals.refuse_strategy(trainer, self._template)
        self._tuning.begin(trainer, pl_module)

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        """Refuse a set-up that cannot work; attach the clippers to module and optimizers."""
        refusals.refuse_scaled(trainer, self.scope)
        refusals.refuse_clipping_optimizers(trainer)
        if self._template.needs_samples:
            refusals.refuse_samples(trainer, pl_module)
        self.attach(trainer, pl_module)

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Take over again from the copy that clipped while Lightning tuned."""
        if self._tuning.ended():
            self.attach(trainer, pl_module)

    def attach(self, trainer: Any, pl_module: Any) -> None:
        """Attach the clippers to the module and to the optimizers of a Trainer."""
        self._prefixes = _prefixes(trainer.optimizers, pl_module)
        if self.scope == "model" and len(trainer.optimizers) > 1:
            self._clipper(0).attach(model=pl_module)
            return
        for index, optimizer in enumerate(trainer.optimizers):
            clipper = self._clipper(index)
            clipper.detach()  # from the optimizer of a fit that broke off
            clipper.attach(model=pl_module, optimizer=optimizer)
            scaler = getattr(trainer.precision_plugin, "scaler", None)
            if self.fold and clipper.fold_into(optimizer, scaler):
                self._folding.add(index)
            if clipper.acts_in_step:
                complete = functools.partial(self._complete, index)
                self._handles.append(StepHooks(optimizer, leave=complete))

    def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Take back what was attached."""
        self._tuning.end()
        self.detach()

    def detach(self) -> None:
        """Leave the module and the optimizers alone."""
        for clipper in self._clippers.values():
            clipper.detach()
        self._folding.clear()
        while self._handles:
            self._handles.pop().remove()

    def fresh(self) -> GradientClipping:
        """A copy without a history that logs nothing."""
        settings: dict[str, Any] = {"scope": self.scope, "fold": self.fold, "log_prefix": None}
        return GradientClipping(copy.deepcopy(self._template), **settings)

    def on_before_backward(self, trainer: Any, pl_module: Any, loss: Tensor) -> None:
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
        self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int
    ) -> None:
        """Wait for the backward pass of this batch; keep it if its samples are needed."""
        self._had_backward = False
        self._batch = batch if self._template.needs_samples else None

    def on_after_backward(self, trainer: Any, pl_module: Any) -> None:
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

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Optimizer) -> None:
        """Clip, log and hand out the report."""
        whole_model = self.scope == "model"
        if (whole_model and not self._fresh) or self._lacks_backward(trainer, pl_module):
            return
        self._fresh = False
        index = 0 if whole_model else _index(trainer.optimizers, optimizer)
        if index not in self._folding:
            self._unscale(trainer, optimizer)
        clipper = self._clipper(index)
        names = self._names.setdefault(index, Names())
        parameters = pl_module if whole_model else names(pl_module, optimizer)
        report = clipper(parameters, loss=self._loss)
        if clipper.acts_in_step:
            self._pending.append((self._steps, index, report))
        else:
            self._publish(trainer, self._steps, index, report)
        self._steps += 1

    def _lacks_backward(self, trainer: Any, pl_module: Any) -> bool:
        """Whether Lightning, with a GradScaler, makes no step: the batch had no loss."""
        scaled = getattr(trainer.precision_plugin, "scaler", None) is not None
        return scaled and pl_module.automatic_optimization and not self._had_backward

    def _unscale(self, trainer: Any, optimizer: Optimizer) -> None:
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

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        """Publish the reports that were complete only after the step."""
        self._batch = None
        if not self._fresh:
            self._loss = None
        while self._pending:
            self._publish(trainer, *self._pending.pop(0))

    def _publish(self, trainer: Any, step: int, index: int, report: ClipReport) -> None:
        self._last.report = report
        self._log(trainer.lightning_module, report, index)
        if self.on_report is not None:
            self.on_report(step, index, report)

    def _clipper(self, index: int) -> Clipper:
        if index not in self._clippers:
            self._clippers[index] = copy.deepcopy(self._template)
        return self._clippers[index]

    def _log(self, pl_module: Any, report: ClipReport, index: int) -> None:
        if self.log_prefix is None:
            return
        prefix = self.log_prefix + (self._prefixes[index] if self.scope == "optimizer" else "")
        pl_module.log_dict(report.metrics(prefix), on_step=True, on_epoch=False, batch_size=1)

    def state_dict(self) -> dict[str, Any]:
        """The state of every clipper, as tensors and integers."""
        states = {str(index): c.state_dict() for index, c in self._clippers.items()}
        return {"steps": self._steps, "clippers": {k: dict(v) for k, v in states.items()}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what `state_dict` returned.

        Raises ValueError, with nothing loaded, for the state of another clipper.
        """
        loaded = {}
        for index, state in state_dict["clippers"].items():
            loaded[int(index)] = copy.deepcopy(self._clipper(int(index)))
            loaded[int(index)].load_state_dict(state)
        self._steps = state_dict["steps"]
        for index, clipper in loaded.items():
            self._clipper(index).load_state_dict(clipper.state_dict())


def _index(optimizers: list[Optimizer], optimizer: Optimizer) -> int:
    """Position of an optimizer in the Trainer's list, seen through Lightning's wrapper."""
    inner = getattr(optimizer, "optimizer", optimizer)
    return next(i for i, known in enumerate(optimizers) if known is inner or known is optimizer)


def _prefixes(optimizers: list[Optimizer], module: nn.Module) -> list[str]:
    """What tells the metrics of several optimizers apart: the submodule of each, or its number."""
    if len(optimizers) == 1:
        return [""]
    names = [common_module(module, optimizer) for optimizer in optimizers]
    return [
        f"{name if name and names.count(name) == 1 else index}/" for index, name in enumerate(names)
    ]
