"""Set-ups of a Trainer in which clipping would go wrong, refused before the first step."""

from __future__ import annotations

from typing import Any

from torch import nn

from gradclip_core.clipper import Clipper
from gradclip_core.in_step import clipped_step_of
from gradclip_core.lightning.packages import clips_itself, is_strategy, misconfigured
from gradclip_core.parts.per_parameter import PerParameter
from gradclip_core.stepping.step_hooks import hooked


def refuse_second_clip(trainer: Any, module: Any) -> None:
    """Raise MisconfigurationException if the Trainer or the module clips as well."""
    value = trainer.gradient_clip_val
    if value is not None and value > 0:
        raise misconfigured(
            trainer,
            f"gradient_clip_val={value} of the Trainer and the callback GradientClipping would "
            "both clip: remove gradient_clip_val",
        )
    if clips_itself(module):
        raise misconfigured(
            trainer,
            f"{type(module).__name__}.configure_gradient_clipping and the callback "
            "GradientClipping would both clip: remove one of them",
        )


def refuse_clipping_optimizers(trainer: Any) -> None:
    """Raise MisconfigurationException if an optimizer has a clipper in its step."""
    for optimizer in map(hooked, trainer.optimizers):
        if clipped_step_of(optimizer) is not None:
            raise misconfigured(
                trainer,
                f"the clipper in the step of {type(optimizer).__name__} and the callback "
                "GradientClipping would both clip: remove one of them",
            )


def refuse_strategy(trainer: Any, clipper: Clipper) -> None:
    """Raise MisconfigurationException for a strategy under which the clipper would go wrong."""
    name = type(trainer.strategy).__name__
    if is_strategy(trainer, "FSDPStrategy", "DeepSpeedStrategy"):
        raise misconfigured(
            trainer,
            f"{name} hides how it shards gradients, so that GradientClipping would measure those "
            "of one process: use ModelParallelStrategy (FSDP2) or DDPStrategy",
        )
    keeps = [type(m).__name__ for m in clipper.modules() for c in m.children() if _is_large(c)]
    if keeps and is_strategy(trainer, "ModelParallelStrategy"):
        raise misconfigured(
            trainer,
            f"{keeps[0]} keeps a tensor for each parameter, of which a checkpoint under {name} "
            "would hold the shards of one process: use DDPStrategy, or a rule that keeps norms",
        )


def _is_large(module: nn.Module) -> bool:
    return isinstance(module, PerParameter)


def refuse_scaled(trainer: Any, scope: str) -> None:
    """Raise MisconfigurationException where gradients would be clipped at their loss scale."""
    if getattr(trainer.precision_plugin, "scaler", None) is None:
        return
    if scope == "model" and len(trainer.optimizers) > 1:
        raise misconfigured(
            trainer,
            'scope="model" under 16-mixed precision would clip the gradients of other '
            'optimizers while they carry the loss scale: use scope="optimizer", or '
            "precision bf16-mixed",
        )


def refuse_samples(trainer: Any, module: Any) -> None:
    """Raise MisconfigurationException where a batch cannot be taken apart into samples."""
    scaled = getattr(trainer.precision_plugin, "scaler", None) is not None
    for wrong, instead in (
        (len(trainer.optimizers) != 1, f"{len(trainer.optimizers)} optimizers"),
        (trainer.world_size != 1, f"{trainer.world_size} processes"),
        (scaled, "the loss scale of 16-mixed"),
        (not callable(getattr(module, "loss", None)), "no method loss(batch) in the module"),
    ):
        if wrong:
            raise misconfigured(
                trainer,
                "clipping by samples needs one optimizer, one process, a precision without a "
                f"loss scale and a module with loss(batch), got {instead}",
            )
