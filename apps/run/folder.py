"""The folder that a training run leaves behind, and reading it back.

config.yaml          the resolved configuration
data.json            what predicting has to know about the run's data: columns, scales
account.txt          what was found in the data: rows, repairs, target, covariates, split
checkpoints/         best.ckpt (lowest validation loss) and last.ckpt
steps.csv            one row per optimizer step: the clipping record
epochs.csv           one row per epoch: training and validation loss
predictions.parquet  forecasts for the held-out split
metrics.json         how the run ended and what it scored; written last
folds/0, 1, ...      the trainings of a run that consists of several, each a whole run
.lock                held by the process that is at work in the folder
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import pandas as pd
import torch
from omegaconf import DictConfig, OmegaConf

import apps
import gradclip_core
from apps.cli.trust import check_trusted
from apps.errors import UserError
from apps.run.locking import LOCK, alone
from apps.run.settings import read_settings
from data_scripts.files import is_temporary, write_bytes, write_text

# What a run writes into its folder, beside the lock.
_FILES = {"config.yaml", "data.json", "steps.csv", "epochs.csv", "predictions.parquet"} | {
    "account.txt",
    "metrics.json",
    "mlflow_run",
}
_FOLDERS = ("checkpoints", "folds", "logs")
# What a version before left when it was killed.
_OLD_LEFTOVER = re.compile(r"\.(config\.yaml|data\.json|metrics\.json)\.\d+")
_OF_METRICS = {"status", "diverged_at", "error", "test", "steps", "clip_rate", "code"}


class RunFolder:
    """Paths and files of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config_file = path / "config.yaml"
        self.description_file = path / "data.json"
        self.account_file = path / "account.txt"
        self.checkpoints = path / "checkpoints"
        self.best = self.checkpoints / "best.ckpt"
        self.last = self.checkpoints / "last.ckpt"
        self.steps = path / "steps.csv"
        self.epochs = path / "epochs.csv"
        self.predictions = path / "predictions.parquet"
        self.metrics_file = path / "metrics.json"

    @classmethod
    def create(
        cls, path: Path, config: DictConfig, description: Mapping[str, Any], account: str
    ) -> RunFolder:
        """Make the folder and write the configuration, in the place of that of the same run.

        description, account: of the data that the run trains on.
        """
        folder = cls(path)
        try:
            folder.checkpoints.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"run_dir={path}: {error.strerror or error}") from error
        text = OmegaConf.to_yaml(config, resolve=True)
        write_text(folder.config_file, f"# gradclip {gradclip_core.__version__}\n{text}")
        folder.describe(description)
        write_text(folder.account_file, f"{account}\n")
        return folder

    @classmethod
    def open(cls, path: Path, key: str = "run", app: str | None = None) -> RunFolder:
        """A folder that holds a run of `app`; UserError if it does not."""
        folder = cls(path)
        if not path.is_dir():
            raise UserError(f"{key}={path}: no such folder")
        if not folder.config_file.is_file():
            raise UserError(f"{key}={path}: holds no run (no {folder.config_file.name})")
        name = folder.settings().app.name
        if app is not None and name != app:
            raise UserError(f"{key}={path}: a run of app={name}, not of app={app}")
        return folder

    def fold(self, number: int) -> RunFolder:
        """The folder of one of the trainings that the run consists of."""
        return RunFolder(self.path / "folds" / str(number))

    @property
    def newest(self) -> RunFolder:
        """The folder of the last training: the run's own, or that of its last fold."""
        count = sum(path.is_dir() for path in (self.path / "folds").glob("*"))
        return self.fold(count - 1) if count else self

    @property
    def begun(self) -> bool:
        """Whether there is something that a training can continue from."""
        return self.newest is not self or self.last.is_file()

    @property
    def holds_something(self) -> bool:
        """Whether there are files in the folder; a run that got no further left none."""
        return any(not path.is_dir() and not _is_leftover(path) for path in self.path.rglob("*"))

    def is_of(self, config: DictConfig) -> bool:
        """Whether the folder holds the run of a configuration, in this place."""
        try:
            written = OmegaConf.to_container(self.settings())
        except UserError:
            return False
        return written == OmegaConf.to_container(config, resolve=True)

    def refuse_others(self) -> None:
        """UserError if there is something else than an empty folder at the folder's place."""
        path = self.path
        if os.path.lexists(path) and (not path.is_dir() or self.holds_something):
            raise UserError(
                f"run_dir={path}: exists and is not empty; choose another folder, or continue it "
                f"with resume={path}"
            )

    def claim(self, *, wait: bool = False) -> AbstractContextManager[None]:
        """Work in the folder alone; see `alone`."""
        return alone(self.path, "run_dir", wait=wait)

    def clear(self) -> None:
        """Remove what a run has written into the folder, and nothing else."""
        for path in self.path.iterdir():
            if path.name in _FOLDERS and path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            elif path.name in _FILES:
                path.unlink()

    def remove_leftovers(self) -> None:
        """Remove what processes that were killed while they wrote have left; hold the lock."""
        for path in self.path.rglob(".*"):
            if path.name != LOCK and _is_leftover(path):
                path.unlink()

    def config(self, trust: Sequence[str] = ()) -> DictConfig:
        """The run's own configuration, of which objects may be built.

        trust: what it may name beside the classes of gradclip. Raises UserError where it names
        others, and for a file that is no configuration.
        """
        config = self.settings()
        check_trusted(config, self.config_file, trust)
        return config

    def settings(self) -> DictConfig:
        """The run's own configuration, whoever wrote it: to compare and to show."""
        return read_settings(self.config_file)

    def describe(self, description: Mapping[str, Any]) -> None:
        """Write what predicting has to know about the run's data."""
        write_text(self.description_file, json.dumps(description, indent=2) + "\n")

    def description(self) -> dict[str, Any]:
        """What the run noted about its data."""
        try:
            record: dict[str, Any] = json.loads(self.description_file.read_text())
        except (OSError, ValueError, RecursionError) as error:
            raise UserError(f"{self.description_file}: cannot be read: {error}") from error
        if not isinstance(record, dict):
            raise UserError(f"{self.description_file}: does not describe the data of a run")
        return record

    def load_checkpoint(self, path: Path) -> dict[str, Any]:
        """A checkpoint as tensors and plain values; UserError if it cannot be read as such."""
        if not path.is_file():
            raise UserError(f"{path}: no such checkpoint; the run may have ended before its first")
        try:
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        except UnpicklingError as error:  # torch would advise to read it all the same
            raise UserError(
                f"{path}: not a readable checkpoint: damaged, or made of more than tensors and "
                "plain values, which could run code"
            ) from error
        except Exception as error:  # damaged bytes can fail anywhere in zip, pickle and torch
            first = (str(error).splitlines() or [type(error).__name__])[0]
            raise UserError(f"{path}: not a readable checkpoint: {first}") from error
        if not isinstance(checkpoint, dict) or "state_dict" not in checkpoint:
            raise UserError(f"{path}: not a checkpoint of a run (no state_dict)")
        return checkpoint

    def load_weights(self, module: torch.nn.Module) -> None:
        """Load the best checkpoint strictly; UserError if it does not fit the network."""
        self._fit_in(module, self.best, self.load_checkpoint(self.best))

    def check_resumable(self, module: torch.nn.Module) -> None:
        """UserError unless the last checkpoint fits the network and can be continued."""
        checkpoint = self.load_checkpoint(self.last)
        self._fit_in(module, self.last, checkpoint)
        lacking = {"callbacks", "epoch", "global_step", "loops", "optimizer_states"} - {*checkpoint}
        if lacking:
            raise UserError(f"{self.last}: cannot be resumed: no {', '.join(sorted(lacking))}")

    @staticmethod
    def _fit_in(module: torch.nn.Module, path: Path, checkpoint: dict[str, Any]) -> None:
        try:
            module.load_state_dict(checkpoint["state_dict"], strict=True)
        except (RuntimeError, TypeError, AttributeError) as error:
            first = str(error).splitlines()[0]
            raise UserError(f"{path}: does not fit this configuration: {first}") from error

    def finish(self, metrics: dict[str, Any], predictions: pd.DataFrame | None) -> None:
        """Write the predictions and then the metrics, whose presence marks the run as ended."""
        if predictions is not None:
            write_bytes(self.predictions, predictions.to_parquet(index=False))
        write_text(self.metrics_file, json.dumps(metrics, indent=2, allow_nan=False) + "\n")

    def read_predictions(self) -> pd.DataFrame | None:
        """The forecasts of a finished run; None where it made none."""
        return pd.read_parquet(self.predictions) if self.predictions.is_file() else None

    def validation_losses(self) -> list[float]:
        """Those of the untrained network and after every epoch; [] where they are not told."""
        try:
            return list(pd.read_csv(self.epochs)["val_loss"].astype(float))
        except (OSError, KeyError, ValueError):
            return []

    def metrics(self) -> dict[str, Any] | None:
        """What `finish` wrote; None for a run that has not ended, or whose end is damaged."""
        try:
            record = json.loads(self.metrics_file.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError, RecursionError):
            return None
        whole = isinstance(record, dict) and record.keys() >= _OF_METRICS
        return record if whole else None


def _is_leftover(path: Path) -> bool:
    """Whether a file is the lock, or was left by a process that was killed while it wrote."""
    return path.name == LOCK or is_temporary(path) or bool(_OLD_LEFTOVER.fullmatch(path.name))


def code_fingerprint() -> str:
    """A hash of the code and configuration that decide a run's result."""
    package = Path(apps.__file__).parent
    core = Path(gradclip_core.__file__).parent
    files = [p for root in (package, core) for p in root.rglob("*.py") if "report" not in p.parts]
    digest = hashlib.sha256()
    for file in sorted(files):
        digest.update(file.name.encode() + file.read_bytes())
    return digest.hexdigest()[:16]
