"""The first steps of a training, without clipping, and the norms of their gradients."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
from torch import Tensor

from apps.errors import UserError
from apps.run.experiment import Experiment
from apps.run.resuming import RandomState
from apps.run.trainer import refuse_processes
from apps.run.training import fit
from gradclip_core import Advice, Advisor
from gradclip_core.advice import Record
from gradclip_core.lightning import GradientClipping


def advise_on(experiment: Experiment, steps: int) -> tuple[Advice, Record]:
    """Make the first steps that `train` would make, unclipped; advice on them, and their norms.

    Ends early after a step whose loss is not finite. Raises UserError where the whole run has
    fewer steps, or training broke down after so few that nothing can be said.
    """
    clipping = GradientClipping(Advisor(window=steps), log_prefix=None)
    trainer = experiment.trainer(
        [clipping, _Until(steps), RandomState(experiment.config.seed)],
        logger=False,
        enable_checkpointing=False,
        limit_val_batches=0,
    )
    refuse_processes(trainer, experiment.config, "gradclip-advise trains")
    fit(trainer, experiment)
    advisor = clipping.clippers[0]
    assert isinstance(advisor, Advisor)
    try:
        return advisor.advise(trainer.optimizers[0]), advisor.record
    except ValueError as error:
        raise UserError(f"steps={steps}: {error}") from error


class _Until(pl.Callback):
    """Ends a training after so many optimizer steps, or when its loss is not finite."""

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Refuse more steps than there are."""
        if self.steps > trainer.estimated_stepping_batches:
            raise UserError(
                f"steps={self.steps}: the run has {trainer.estimated_stepping_batches} steps; "
                "choose fewer, or lengthen the run"
            )

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Stop where it is time."""
        loss: Tensor = outputs["loss"]
        if trainer.global_step >= self.steps or not loss.isfinite():
            trainer.should_stop = True
