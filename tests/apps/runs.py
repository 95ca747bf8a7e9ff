"""What the tests of the shared rooms read: runs as tables."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor


def weights(run: Path, which: str = "best") -> dict[str, Tensor]:
    """The weights of a checkpoint."""
    checkpoint = torch.load(run / "checkpoints" / f"{which}.ckpt", weights_only=True)
    state: dict[str, Tensor] = checkpoint["state_dict"]
    return state


def steps(run: Path) -> pd.DataFrame:
    """The clipping record of a run."""
    return pd.read_csv(run / "steps.csv")


def metrics(run: Path) -> dict[str, Any]:
    """What a run scored, without the time it took and the code; strict JSON or an error."""
    record: dict[str, Any] = json.loads((run / "metrics.json").read_text(), parse_constant=_refuse)
    del record["seconds"], record["code"]
    return record


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def assert_same_run(one: Path, other: Path) -> None:
    """Two runs left the same weights, records, forecasts and scores, to the last bit."""
    assert metrics(one) == metrics(other)
    for name in ("steps.csv", "epochs.csv", "data.json"):
        assert (one / name).read_text() == (other / name).read_text()
    pd.testing.assert_frame_equal(
        pd.read_parquet(one / "predictions.parquet"),
        pd.read_parquet(other / "predictions.parquet"),
        check_exact=True,
    )
    for which in ("best", "last"):
        mine, theirs = weights(one, which), weights(other, which)
        assert mine.keys() == theirs.keys() != set()
        assert all(torch.equal(mine[name], theirs[name]) for name in mine)
