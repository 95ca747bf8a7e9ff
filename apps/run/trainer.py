"""The Trainer of a run, and what it cannot do: alone, in several processes, beside the clipper."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.plugins import MixedPrecision, TorchCheckpointIO
from omegaconf import DictConfig

from apps.cli.instantiate import instantiate
from apps.errors import UserError
from data_scripts.files import replacing


class HalfOnCPU(MixedPrecision):
    """fp16 with a scaled loss on the CPU, without oneDNN, whose LSTM has no fp16."""

    @contextmanager
    def forward_context(self) -> Iterator[None]:
        """What a forward pass runs in."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "TF32 acceleration on top of oneDNN")
            without = torch.backends.mkldnn.flags(enabled=False)
            with without, super().forward_context():
                yield


class Checkpoints(TorchCheckpointIO):
    """Writes checkpoints beside their place; Lightning's way is through another file system."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        """Write a checkpoint; OSError where the disk is full, of which torch says less."""
        content = io.BytesIO()
        torch.save(checkpoint, content)
        with replacing(Path(path)) as temporary:
            temporary.write_bytes(content.getbuffer())


def make_trainer(config: DictConfig, **arguments: Any) -> pl.Trainer:
    """The Trainer; UserError for settings that cannot work here."""
    quieten()
    trainer_of = instantiate(config, "trainer", pl.Trainer)
    try:
        plugins: list[Any] = [Checkpoints()]
        if _is_half_on_cpu(config):
            # Lightning would train in bf16 in the place of fp16, and not say so.
            arguments |= {"precision": None}
            plugins.append(HalfOnCPU("16-mixed", "cpu"))
        # The samplers divide the training data; every process validates on all of the others.
        trainer: pl.Trainer = trainer_of(
            use_distributed_sampler=False, plugins=plugins, **arguments
        )
    except (MisconfigurationException, ValueError, TypeError, RuntimeError) as error:
        raise UserError(f"trainer={config.choices.get('trainer')}: {error}") from error
    if trainer.gradient_clip_val is not None:
        raise UserError(
            f"trainer.gradient_clip_val={trainer.gradient_clip_val}: would clip beside the "
            "strategy; remove it and choose clipping=global_norm or another"
        )
    return trainer


def _is_half_on_cpu(config: DictConfig) -> bool:
    """Whether the Trainer is to train in fp16 on the CPU."""
    trainer = config.trainer
    return trainer.get("precision") in ("16-mixed", 16) and trainer.get("accelerator") == "cpu"


def num_processes(trainer: pl.Trainer) -> int:
    """How many processes a Trainer trains in."""
    return trainer.num_devices * trainer.num_nodes


def bare_trainer(config: DictConfig) -> pl.Trainer:
    """A Trainer that is asked what it would use, and trains nothing."""
    return make_trainer(config, logger=False, enable_checkpointing=False)


def refuse_processes(trainer: pl.Trainer, config: DictConfig, where: str) -> None:
    """UserError for a Trainer of several processes, where one must train alone."""
    number = num_processes(trainer)
    if number > 1:
        raise UserError(
            f"trainer={config.choices.get('trainer')}: trains in {number} processes, and {where} "
            "in one; take trainer.devices=1, or single runs of gradclip-train"
        )


def quieten() -> None:
    """Silence what Lightning tells on every run and a user can do nothing about."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")
    warnings.filterwarnings("ignore", ".*does not have many workers.*")
