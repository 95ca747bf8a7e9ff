"""Runs of the finance application on made-up prices."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.apps.finance.prices import TINY, price_table
from tests.conftest import succeed


@pytest.fixture(scope="session")
def prices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of 1,400 days."""
    path = tmp_path_factory.mktemp("prices") / "prices.csv"
    price_table().to_csv(path, index=False)
    return path


@pytest.fixture(scope="session")
def small(prices: Path) -> list[str]:
    """Overrides for a training of a second on `prices`."""
    return [*TINY, "data=csv", f"data.path={prices}"]


@pytest.fixture(scope="session")
def ready(small: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, recalibrated on 300 days; read only."""
    path = tmp_path_factory.mktemp("ready") / "run"
    settings = ["app.recalibration_days=300", "data.val_fraction=0.25"]
    succeed("train", *small, *settings, f"run_dir={path}")
    return path
