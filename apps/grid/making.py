"""Making one run of a comparison, wherever it was sent to."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from apps.errors import UserError
from apps.run_folder import RunFolder, code_fingerprint


def make(plain: dict[str, Any], path: str) -> dict[str, Any]:
    """In a worker process: make one run, continue it, or read what it left."""
    from apps.folds import train_run

    config, folder = OmegaConf.create(plain), RunFolder(Path(path))
    try:
        metrics = folder.metrics()
        if metrics is not None and metrics["code"] == code_fingerprint():
            return metrics
        resume = folder.begun and metrics is None
        if folder.path.exists() and not resume:
            shutil.rmtree(folder.path)  # `check` has found it to be this very run
        return train_run(config, folder.path, resume=resume, quiet=True)
    except UserError as error:
        return failed(str(error))
    except SystemExit:  # Lightning's answer to SIGTERM; a pool would go on with the next run
        os._exit(1)
    except Exception as error:  # one run's failure is a result of the comparison
        return failed(f"{type(error).__name__}: {error}")


def failed(error: str) -> dict[str, Any]:
    """The metrics of a run that could not be made."""
    return {"status": "failed", "error": error}
