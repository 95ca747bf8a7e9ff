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

_SQLITE = "sqlite:///"
_WAIT = "?timeout=60"  # seconds for which a run waits until another has written


class MLflow(MLFlowLogger):
    """Lightning's logger of MLflow, silent, for runs side by side and ones that are continued.

    A run that is continued goes on under its MLflow run, whose name stands in its folder.

    tracking_uri: sqlite:///FILE, or the address of a server. Raises UserError where MLflow is not
    installed or cannot be reached there.
    """

    def __init__(self, save_dir: str, tracking_uri: str, experiment_name: str) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # read when it is imported
        self._file = Path(save_dir) / "mlflow_run"
        known = self._file.read_text().strip() if self._file.is_file() else None
        try:
            import_module("mlflow")
        except ModuleNotFoundError as error:
            needed = "mlflow-skinny sqlalchemy alembic"
            raise UserError(f"logger=mlflow: needs mlflow; pip install {needed}") from error
        logging.getLogger("mlflow").setLevel(logging.ERROR)
        waiting = tracking_uri.startswith(_SQLITE) and "?" not in tracking_uri
        try:
            with _alone(tracking_uri):
                super().__init__(
                    experiment_name=experiment_name,
                    run_name=Path(save_dir).name,
                    tracking_uri=tracking_uri + (_WAIT if waiting else ""),
                    run_id=known,
                )
        except Exception as error:  # of MLflow, of SQLAlchemy, of the network
            first = (str(error).splitlines() or [type(error).__name__])[0]
            raise UserError(f"logger.tracking_uri={tracking_uri}: {first}") from error
        self._uri = tracking_uri

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *_: Any, **__: Any) -> None:
        """Begin the MLflow run, or go on with it, with these parameters."""
        with _alone(self._uri):
            super().log_hyperparams(params)
        self._file.write_text(f"{self.run_id}\n")


@contextmanager
def _alone(tracking_uri: str) -> Iterator[None]:
    """Keep others from making the tables of the same file, or an experiment in it, meanwhile."""
    if not tracking_uri.startswith(_SQLITE):
        yield
        return
    path = Path(tracking_uri.removeprefix(_SQLITE).partition("?")[0])
    with FileLock(path.with_name(f".{path.name}.lock")):
        yield
