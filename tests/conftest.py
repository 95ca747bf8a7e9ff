"""What the tests of the applications share: a small series, quick settings, calling a verb."""

from __future__ import annotations

import contextlib
import importlib
import io
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from tests.forked import Warm

pytest.register_assert_rewrite("tests.apps.runs")

# The same examples on every machine and day, however slow it is.
settings.register_profile(
    "repeatable", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("repeatable")

with contextlib.suppress(ImportError):
    # absl, which Keras and JAX bring, closes the stream under which it was imported once somebody
    # sets logging up anew, as Ray does. Under pytest that is where all output goes.
    from absl import logging as absl_logging

    absl_logging.get_absl_handler().python_handler.stream = sys.__stderr__

HOURS = 24 * 84


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Keep bytes out of the names of tests: packed ones hold the time, and workers would differ."""
    return argname if isinstance(val, bytes) else None


# A network and a budget so small that a training takes a second.
TINY = (
    "model.hidden_size=4",
    "training.epochs=2",
    "app.batch_size=32",
    "app.samples_per_epoch=64",
    "logger=none",
)


@dataclass(frozen=True)
class Ended:
    """How a verb ended: its exit code and what it printed."""

    code: int
    out: str
    err: str


def load_table(hours: int = HOURS, frequency: str = "1h") -> pd.DataFrame:
    """A load with a day, a week, a temperature and noise, from a Monday on."""
    times = pd.date_range("2024-01-01", periods=hours, freq=frequency)
    noise = np.random.default_rng(0).normal(size=(2, hours))
    day = np.asarray((times - times.normalize()) / pd.Timedelta(days=1))
    season = np.arange(hours) / hours
    temperature = 15 + 8 * np.sin(2 * np.pi * (day - 0.4)) + 5 * season + noise[0]
    load = 100 + 20 * np.sin(2 * np.pi * (day - 0.3)) + 10 * (times.day_of_week < 5)
    load = load + np.abs(temperature - 18) + 2 * noise[1]
    return pd.DataFrame(
        {"timestamp": times, "load": load.round(3), "temperature": temperature.round(2)}
    )


def run_verb(verb: str, *arguments: Any) -> Ended:
    """Call a console script's `main` in this process."""
    out, err = io.StringIO(), io.StringIO()
    main = importlib.import_module(f"apps.{verb}").main
    code = 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [f"gradclip-{verb}", *map(str, arguments)])
        patch.setenv("HYDRA_FULL_ERROR", "1")
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                main()
            except SystemExit as end:
                code = int(end.code or 0)
    return Ended(code, out.getvalue(), err.getvalue())


def succeed(verb: str, *arguments: Any) -> str:
    """Call a verb that must succeed; return what it printed."""
    ended = run_verb(verb, *arguments)
    assert ended.code == 0, ended.err
    assert ended.err == ""
    return ended.out


def refused(verb: str, *arguments: Any) -> str:
    """The one line that a refused verb prints, after checking that it wrote nothing."""
    before = snapshot(Path.cwd())
    ended = run_verb(verb, *arguments)
    assert ended.code == 2, ended
    assert ended.err.count("\n") == 1, ended.err
    assert ended.err.startswith(f"gradclip-{verb}: ")
    assert "Traceback" not in ended.err + ended.out
    assert snapshot(Path.cwd()) == before
    return ended.err


def snapshot(folder: Path) -> dict[str, int]:
    """Every path below a folder with the time it was last written."""
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*")}


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Let a test draw the same numbers whichever ran before it in its process."""
    torch.manual_seed(0)


@pytest.fixture
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make an empty folder the current one, so that `refused` sees what is written."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def load_csv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve weeks of hourly load and temperature."""
    path = tmp_path_factory.mktemp("data") / "load.csv"
    load_table().to_csv(path, index=False)
    return path


@pytest.fixture(scope="session")
def tiny(load_csv: Path) -> list[str]:
    """Overrides for a training of a second on `load_csv`."""
    known = "data.known=[temperature]"
    return ["data=csv", f"data.path={load_csv}", "data.target=load", known, *TINY]


@pytest.fixture
def train(tiny: list[str], tmp_path: Path) -> Callable[..., Path]:
    """Train a small model with further overrides; return its folder."""

    def train(*overrides: Any, name: str = "run") -> Path:
        succeed("train", *tiny, *overrides, f"run_dir={tmp_path / name}")
        return tmp_path / name

    return train


@pytest.fixture(scope="session")
def trained(tiny: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run; read only."""
    path = tmp_path_factory.mktemp("trained") / "run"
    succeed("train", *tiny, f"run_dir={path}")
    return path


@pytest.fixture(scope="session")
def warm() -> Iterator[Warm]:
    """An interpreter that has imported everything, from which verbs are forked."""
    from tests.forked import Warm

    with Warm() as interpreter:
        yield interpreter


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the runs in this process, where a test can reach them and none has to start."""
    monkeypatch.setattr(
        "apps.grid.local.ProcessPoolExecutor", lambda jobs, **_: ThreadPoolExecutor(1)
    )


@pytest.fixture
def quick_baselines() -> Iterator[None]:
    """Leave out the boosted trees, which take longer than the rest of a comparison."""
    from apps.energy.baselines import BASELINES

    with pytest.MonkeyPatch.context() as patch:
        for name in ("hgb", "hgb_no_covariates"):
            patch.delitem(BASELINES, name)
        yield
