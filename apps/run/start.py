"""Beginning a training with the weights of another run."""

from __future__ import annotations

from pathlib import Path

import torch
from omegaconf import DictConfig

from apps.base.task import Task
from apps.errors import UserError
from apps.run.folder import RunFolder

KEY = "training.start_from"


@torch.no_grad()
def start_from(task: Task, path: Path, app: DictConfig) -> str:
    """Take from a run's best checkpoint each parameter that has the same name and shape here.

    The others, such as a layer over another vocabulary, stay as they were drawn, and buffers as
    they were set. app: the application's settings. Returns in words what was taken. Raises
    UserError for a folder that holds no run of the application, for a run on other features, whose
    weights would mean something else here, and for one of which no matrix fits.
    """
    folder = RunFolder.open(path, KEY, app.name)
    _check_features(path, folder.settings().app.get("features"), app.get("features"))
    weights = folder.load_checkpoint(folder.best)["state_dict"]
    own = dict(task.named_parameters())
    taken = {
        name for name, parameter in own.items() if _shape(weights.get(name)) == parameter.shape
    }
    if not any(own[name].ndim >= 2 for name in taken):
        raise UserError(
            f"{KEY}={path}: none of its layers has the shape of one here; choose the model= and "
            "the sizes of that run"
        )
    for name in taken:
        own[name].copy_(weights[name])
    new = ", ".join(name for name in own if name not in taken)
    return f"{len(taken)} of {len(own)} parameters from {path}; new: {new or 'none'}"


def _check_features(path: Path, theirs: DictConfig | None, ours: DictConfig | None) -> None:
    """UserError unless both look at their data in the same way."""
    for name, value in ({} if ours is None else ours).items():
        other = None if theirs is None else theirs.get(name)
        if other != value:
            told = f"{name!s}={other}, not {name!s}={value}"
            raise UserError(f"{KEY}={path}: its features have {told}")


def _shape(value: object) -> torch.Size | None:
    return value.shape if isinstance(value, torch.Tensor) else None
