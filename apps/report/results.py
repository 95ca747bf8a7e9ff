"""What a comparison of clipping strategies measured, and its JSON file."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

Direction = Literal["min", "max", "target"]
Status = Literal["completed", "diverged", "failed"]

UNCLIPPED = "none"


@dataclass(frozen=True, slots=True)
class Metric:
    """How one test metric is named, read and printed.

    `direction` says what is good: small ("min"), large ("max") or close to `target` ("target").
    A metric that is not `repeatable`, such as a time, may differ between identical runs.
    """

    name: str
    label: str
    unit: str = ""
    direction: Direction = "min"
    decimals: int = 3
    target: float | None = None
    repeatable: bool = True

    def __post_init__(self) -> None:
        if self.direction not in ("min", "max", "target"):
            raise ValueError(
                f"metric {self.name}: direction is {self.direction!r}, not min/max/target"
            )
        if self.direction == "target" and self.target is None:
            raise ValueError(f"metric {self.name}: direction 'target' needs a target value")

    def loss(self, value: float) -> float:
        """The value turned so that smaller is better."""
        if self.direction == "max":
            return -value
        if self.target is not None and self.direction == "target":
            return abs(value - self.target)
        return value


@dataclass(frozen=True, slots=True)
class Run:
    """One training: its settings, how it ended and what it scored on the test split.

    `run_dir` is relative to the report's folder. `test` of a diverged run is empty or holds the
    scores of its best checkpoint. `value` is the swept setting's value in a `Sweep`. `val_loss` is
    the lowest validation loss, by which the checkpoint was chosen.
    """

    clipping: str
    seed: int
    optimizer: str
    lr: float
    status: Status
    test: dict[str, float | None] = field(default_factory=dict)
    diverged_at: int | None = None
    error: str | None = None
    seconds: float = 0.0
    steps: int = 0
    clip_rate: float | None = None
    skipped: int = 0
    run_dir: str = ""
    command: str = ""
    value: float | None = None
    val_loss: float | None = None

    def __post_init__(self) -> None:
        if self.status not in ("completed", "diverged", "failed"):
            raise ValueError(f"run {self.run_dir}: status {self.status!r} is unknown")

    def score(self, metric: str) -> float | None:
        """The finite test score of a completed run; None for every other case."""
        value = self.test.get(metric)
        if self.status != "completed" or value is None or not math.isfinite(value):
            return None
        return value


@dataclass(frozen=True, slots=True)
class Sweep:
    """Runs over the values of one setting, for example `optimizer.lr`."""

    axis: str
    overrides: list[str]
    runs: list[Run]

    def __post_init__(self) -> None:
        if any(run.value is None for run in self.runs):
            raise ValueError(f"every run of the sweep over {self.axis} needs a value")


@dataclass(frozen=True, slots=True)
class Results:
    """Everything one comparison measured. `metric` names the primary one among `metrics`."""

    app: str
    title: str
    metric: str
    direction: Direction
    metrics: list[Metric]
    runs: list[Run]
    baselines: dict[str, dict[str, float | None]] = field(default_factory=dict)
    sweep: Sweep | None = None
    config: dict[str, Any] = field(default_factory=dict)
    command: str = ""
    created: str = ""
    environment: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        names = [metric.name for metric in self.metrics]
        if self.metric not in names:
            raise ValueError(f"primary metric {self.metric!r} is not among {names}")
        if self.primary.direction != self.direction:
            raise ValueError(f"direction {self.direction!r} contradicts metric {self.metric!r}")

    @property
    def primary(self) -> Metric:
        """The metric that the headline and the sweep speak about."""
        return next(metric for metric in self.metrics if metric.name == self.metric)

    @property
    def strategies(self) -> list[str]:
        """The clipping strategies in order of appearance, the unclipped one first."""
        runs = self.runs + (self.sweep.runs if self.sweep else [])
        names = dict.fromkeys(run.clipping for run in runs)
        return sorted(names, key=lambda name: name != UNCLIPPED)

    def of(self, clipping: str) -> list[Run]:
        """The runs of one strategy."""
        return [run for run in self.runs if run.clipping == clipping]


def write_results(results: Results, path: Path) -> None:
    """Write strict JSON: NaN and infinite numbers become null."""
    text = json.dumps(_plain(asdict(results)), indent=2, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")


def read_results(path: Path) -> Results:
    """Read what `write_results` wrote."""
    record = json.loads(path.read_text(encoding="utf-8"))
    sweep = record["sweep"]
    record["metrics"] = [Metric(**metric) for metric in record["metrics"]]
    record["runs"] = [Run(**run) for run in record["runs"]]
    if sweep is not None:
        record["sweep"] = Sweep(**{**sweep, "runs": [Run(**run) for run in sweep["runs"]]})
    return Results(**record)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if hasattr(value, "item"):  # numpy and torch scalars
        return _plain(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return str(value)
