"""Logging to MLflow: an SQLite file of this machine, or a tracking server."""

from __future__ import annotations

import logging
import os
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from filelock import FileLock
from lightning.pytorch.loggers import MLFlowLogger
from lightning.pytorch.utilities import rank_zero_only

from apps.errors import UserError
from data_scripts.files import write_text

_SQLITE = "sqlite:///"
_NOT_KEPT = {".lock", "last.ckpt", "mlflow_run"}
_WAIT = "?timeout=60"  # seconds for which a run waits until another has written


class MLflow(MLFlowLogger):
    """Lightning's logger of MLflow, silent, for runs side by side and ones that are continued.

    A run that is continued goes on under its MLflow run, whose name stands in its folder. A new one
    goes on under that of MLFLOW_RUN_ID, which a job of Azure ML or of MLflow Projects has made.

    tracking_uri: sqlite:///FILE, or the address of a server; None: MLFLOW_TRACKING_URI, or else
        sqlite:///mlflow.db.
    experiment_name: None: MLFLOW_EXPERIMENT_NAME, or else "gradclip".
    log_model: whether the files of a run that has ended are kept there as artifacts, under `run`:
        configuration, best checkpoint, scores. Once downloaded it is a run folder again.

    Raises UserError where MLflow is not installed or cannot be reached there.
    """

    def __init__(
        self,
        save_dir: str,
        tracking_uri: str | None = None,
        experiment_name: str | None = None,
        log_model: bool = False,
    ) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # read when it is imported
        self._folder = Path(save_dir)
        self._file = self._folder / "mlflow_run"
        self._keeps_files = log_model
        known = self._file.read_text().strip() if self._file.is_file() else None
        try:
            import_module("mlflow")
        except ModuleNotFoundError as error:
            needed = "mlflow-skinny sqlalchemy alembic"
            raise UserError(f"logger=mlflow: needs mlflow; pip install {needed}") from error
        logging.getLogger("mlflow").setLevel(logging.ERROR)
        key = "logger.tracking_uri" if tracking_uri else "MLFLOW_TRACKING_URI"
        self._uri = tracking_uri or os.environ.get("MLFLOW_TRACKING_URI") or f"{_SQLITE}mlflow.db"
        waiting = self._uri.startswith(_SQLITE) and "?" not in self._uri
        environment = os.environ.get
        try:
            with _alone(self._uri):
                super().__init__(
                    experiment_name=experiment_name
                    or environment("MLFLOW_EXPERIMENT_NAME")
                    or "gradclip",
                    run_name=self._folder.name,
                    tracking_uri=self._uri + (_WAIT if waiting else ""),
                    run_id=known or environment("MLFLOW_RUN_ID"),
                )
        except Exception as error:  # of MLflow, of SQLAlchemy, of the network
            first = (str(error).splitlines() or [type(error).__name__])[0]
            raise UserError(f"{key}={self._uri}: {first}") from error

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *_: Any, **__: Any) -> None:
        """Begin the MLflow run, or go on with it, with these parameters."""
        with _alone(self._uri):
            super().log_hyperparams(params)
        write_text(self._file, f"{self.run_id}\n")

    @rank_zero_only
    def finalize(self, status: str = "success") -> None:
        """End the MLflow run; keep the files of one that has its scores, where asked."""
        if self._keeps_files and (self._folder / "metrics.json").is_file():
            for path in sorted(self._folder.rglob("*")):
                if path.is_file() and path.name not in _NOT_KEPT:
                    place = Path("run") / path.relative_to(self._folder).parent
                    self.experiment.log_artifact(self.run_id, str(path), place.as_posix())
        super().finalize(status)


@contextmanager
def _alone(tracking_uri: str) -> Iterator[None]:
    """Keep others from making the tables of the same file, or an experiment in it, meanwhile."""
    if not tracking_uri.startswith(_SQLITE):
        yield
        return
    path = Path(tracking_uri.removeprefix(_SQLITE).partition("?")[0])
    with FileLock(path.with_name(f".{path.name}.lock")):
        yield
