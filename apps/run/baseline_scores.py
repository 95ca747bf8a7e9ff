"""Scoring an application's baselines, and keeping the scores for the next time."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pandas as pd

from apps.base.application import Evaluation
from apps.run.experiment import Experiment
from apps.run.folder import code_fingerprint
from data_scripts.files import write_bytes, write_text

_SCORES = "scores.json"


def score_baselines(experiment: Experiment, folder: Path) -> dict[str, Evaluation]:
    """Fit and score the baselines; scores kept in `folder` serve again for the same data."""
    key = f"{code_fingerprint()}-{experiment.data.fingerprint}"
    kept = _read(folder, key)
    if kept is not None:
        return kept
    scored = dict(experiment.application.baselines(experiment.data))
    folder.mkdir(parents=True, exist_ok=True)
    for name, evaluation in scored.items():
        write_bytes(folder / f"{name}.parquet", evaluation.predictions.to_parquet(index=False))
    scores = {name: _plain(evaluation.metrics) for name, evaluation in scored.items()}
    text = json.dumps({"key": key, "scores": scores}, indent=2, allow_nan=False)
    write_text(folder / _SCORES, text + "\n")
    return scored


def _read(folder: Path, key: str) -> dict[str, Evaluation] | None:
    """The scores that are kept under a key; None where there are none, or they are damaged."""
    try:
        record = json.loads((folder / _SCORES).read_text(encoding="utf-8"))
        if record["key"] != key:
            return None
        return {
            name: Evaluation(
                {metric: math.nan if value is None else value for metric, value in scores.items()},
                pd.read_parquet(folder / f"{name}.parquet"),
            )
            for name, scores in record["scores"].items()
        }
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def _plain(metrics: dict[str, float]) -> dict[str, float | None]:
    return {name: value if math.isfinite(value) else None for name, value in metrics.items()}
