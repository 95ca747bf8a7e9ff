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
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from filelock import FileLock, Timeout
from omegaconf import DictConfig, OmegaConf

import apps
import gradclip_core
from apps.cli.trust import check_trusted
from apps.errors import UserError
from apps.run.settings import read_settings

LOCK = ".lock"


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
        """Make the folder and write the configuration; UserError if it holds something already.

        description, account: of the data that the run trains on.
        """
        folder = cls(path)
        folder.refuse_others()
        try:
            folder.checkpoints.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"run_dir={path}: {error.strerror or error}") from error
        text = OmegaConf.to_yaml(config, resolve=True)
        _write(folder.config_file, f"# gradclip {gradclip_core.__version__}\n{text}")
        folder.describe(description)
        _write(folder.account_file, f"{account}\n")
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
        return any(not path.is_dir() and path.name != LOCK for path in self.path.rglob("*"))

    def refuse_others(self) -> None:
        """UserError if there is something else than a lock at the folder's place."""
        path = self.path
        if path.exists() and (not path.is_dir() or any(p.name != LOCK for p in path.iterdir())):
            raise UserError(
                f"run_dir={path}: exists and is not empty; choose another folder, or continue it "
                f"with resume={path}"
            )

    def claim(self, *, wait: bool = False) -> AbstractContextManager[None]:
        """Work in the folder alone; see `alone`."""
        return alone(self.path, "run_dir", wait=wait)

    def clear(self) -> None:
        """Remove what the folder holds."""
        for path in self.path.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name != LOCK:
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
        _write(self.description_file, json.dumps(description, indent=2) + "\n")

    def description(self) -> dict[str, Any]:
        """What the run noted about its data."""
        try:
            record: dict[str, Any] = json.loads(self.description_file.read_text())
        except (OSError, ValueError) as error:
            raise UserError(f"{self.description_file}: cannot be read: {error}") from error
        return record

    def load_checkpoint(self, path: Path) -> dict[str, Any]:
        """A checkpoint as tensors and plain values; UserError if it cannot be read as such."""
        if not path.is_file():
            raise UserError(f"{path}: no such checkpoint; the run may have ended before its first")
        try:
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
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
            predictions.to_parquet(self.predictions, index=False)
        _write(self.metrics_file, json.dumps(metrics, indent=2, allow_nan=False) + "\n")

    def read_predictions(self) -> pd.DataFrame | None:
        """The forecasts of a finished run; None where it made none."""
        return pd.read_parquet(self.predictions) if self.predictions.is_file() else None

    def metrics(self) -> dict[str, Any] | None:
        """What `finish` wrote; None for a run that has not ended."""
        if not self.metrics_file.is_file():
            return None
        record: dict[str, Any] = json.loads(self.metrics_file.read_text())
        return record


@contextmanager
def alone(path: Path, key: str, *, wait: bool = False) -> Iterator[None]:
    """Hold the lock of a folder, which is made if need be; it ends with the process, too.

    Raises UserError where another process holds it, unless it is waited for. Folders made for
    work that was refused before it wrote anything are taken away again.
    """
    made = [folder for folder in (path, *path.parents) if not folder.exists()]
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path / LOCK)
        lock.acquire(timeout=-1 if wait else 0, poll_interval=0.5)
    except Timeout as error:
        raise UserError(f"{key}={path}: another process is at work in it") from error
    except OSError as error:
        raise UserError(f"{key}={path}: {error.strerror or error}") from error
    try:
        yield
    except UserError:
        _remove_unused(made)
        raise
    finally:
        lock.release()


def _remove_unused(folders: Sequence[Path]) -> None:
    """Remove folders, the innermost first, up to one that holds more than a lock."""
    for folder in folders:
        if any(file.name != LOCK for file in folder.iterdir()):
            return
        (folder / LOCK).unlink(missing_ok=True)
        folder.rmdir()


def new_folder(root: Path, name: str) -> Path:
    """A dated folder under `root` that does not exist yet."""
    stamp = f"{datetime.now():%Y-%m-%d/%H-%M-%S}-{name}"
    candidates = [root / stamp, *(root / f"{stamp}-{i}" for i in range(2, 1000))]
    return next(path for path in candidates if not path.exists())


def code_fingerprint() -> str:
    """A hash of the code and configuration that decide a run's result."""
    package = Path(apps.__file__).parent
    core = Path(gradclip_core.__file__).parent
    files = [p for root in (package, core) for p in root.rglob("*.py") if "report" not in p.parts]
    digest = hashlib.sha256()
    for file in sorted(files):
        digest.update(file.name.encode() + file.read_bytes())
    return digest.hexdigest()[:16]


def _write(path: Path, text: str) -> None:
    """Write a file so that it is never seen half written."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)
