"""Clipping in a Trainer of Transformers, with what was done in its logs.

Trainer(model, TrainingArguments(..., max_grad_norm=0), callbacks=[GradientClipping(ClipNorm(1.0))])
"""

from __future__ import annotations

from typing import Any

from transformers import TrainerCallback

from gradclip_core.checks import type_name
from gradclip_core.clipper import Clipper
from gradclip_core.in_step import ClippedStep, clip_in_step
from gradclip_core.report import ClipReport


class GradientClipping(TrainerCallback):
    """Clips in the steps of the Trainer's optimizer, whichever that is, and logs the report.

    Examples:
        >>> from gradclip_core import ClipNorm
        >>> from gradclip_core.transformers import GradientClipping
        >>> callback = GradientClipping(ClipNorm(1.0))  # for Trainer(callbacks=[callback])

    Args:
        clipper: any clipper but one that needs samples; it sees gradients after accumulation,
            without a loss scale, under the names of the model. Its state is in the checkpoint, in
            `optimizer.pt`, and is restored with it.
        log_prefix: prefix of the metrics in the Trainer's logs (`grad/norm`, `grad/clipped_norm`,
            ...); None logs nothing. The report is read when the Trainer logs, and not in other
            steps.

    The Trainer's own clipping has to be off: `max_grad_norm=0`, since its default is 1.0;
    ValueError otherwise. Reporting integrations see the metrics if this callback comes before
    them, as after `add_to(trainer)`; `state.log_history` and the printed lines have them anyway.
    """

    def __init__(self, clipper: Clipper, *, log_prefix: str | None = "grad/") -> None:
        if not isinstance(clipper, Clipper) or clipper.needs_samples:
            raise TypeError(
                f"clipper must be a Clipper of whole gradients, got {type_name(clipper)}"
            )
        self.clipper = clipper
        self.log_prefix = log_prefix
        self._hook: ClippedStep | None = None

    @property
    def last_report(self) -> ClipReport | None:
        """What the latest step did; None before the first."""
        return self.clipper.last_report

    def add_to(self, trainer: Any) -> None:
        """Become the first callback of a Trainer, before those that send logs away."""
        handler = trainer.callback_handler
        handler.callbacks = [self, *(c for c in handler.callbacks if c is not self)]

    def on_train_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """Put the clipper into the step of the optimizer."""
        if args.max_grad_norm is not None and args.max_grad_norm > 0:
            raise ValueError(
                f"max_grad_norm={args.max_grad_norm} of TrainingArguments and the callback "
                "GradientClipping would both clip: set max_grad_norm=0"
            )
        self._release()  # of a training that broke off
        self._hook = clip_in_step(given["optimizer"], self.clipper).attach(model=given["model"])

    def on_train_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """Leave the optimizer as it was."""
        self._release()

    def on_log(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """Add the report to the logs of training."""
        report, logs = self.last_report, given["logs"]
        if self.log_prefix is None or report is None or "loss" not in logs:
            return
        values = report.as_dict().items()
        numbers = {key: float(v) for key, v in values if isinstance(v, (bool, int, float))}
        metrics = {f"{self.log_prefix}{key}": number for key, number in numbers.items()}
        logs.update(metrics)
        state.log_history[-1].update(metrics)

    def _release(self) -> None:
        if self._hook is not None:
            self._hook.detach()
            self._hook = None
