"""What a comparison of clipping strategies measured, and its JSON file."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from apps.report.model.grids import Comparison, Grid, names_of, validation_rank
from apps.report.model.runs import UNCLIPPED, Run
from data_scripts.files import write_text

Direction = Literal["min", "max", "target"]


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
class Results:
    """Everything one comparison measured. `metric` names the primary one among `metrics`.

    `trained_metric` names the one by which strategies are compared, None where it is the primary
    one. `grid` is the comparison itself, `sweep` a second grid that `sweep=NAME` added.
    """

    app: str
    title: str
    metric: str
    direction: Direction
    metrics: list[Metric]
    grid: Grid
    sweep: Grid | None = None
    baselines: dict[str, dict[str, float | None]] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    command: str = ""
    created: str = ""
    environment: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    trained_metric: str | None = None

    def __post_init__(self) -> None:
        names = [metric.name for metric in self.metrics]
        for name in (self.metric, self.trained_metric or self.metric):
            if name not in names:
                raise ValueError(f"primary metric {name!r} is not among {names}")
        if self.primary.direction != self.direction:
            raise ValueError(f"direction {self.direction!r} contradicts metric {self.metric!r}")

    @property
    def primary(self) -> Metric:
        """The metric of the table of scores, and of the comparison with classical baselines."""
        return self._named(self.metric)

    @property
    def trained(self) -> Metric:
        """The metric that compares strategies: verdict, gains, recommendation and sweep."""
        return self._named(self.trained_metric or self.metric)

    def _named(self, name: str) -> Metric:
        return next(metric for metric in self.metrics if metric.name == name)

    @property
    def grids(self) -> list[Grid]:
        """The comparison's own grid and that of the sweep, if there is one."""
        return [self.grid] if self.sweep is None else [self.grid, self.sweep]

    @property
    def runs(self) -> list[Run]:
        """The runs of all grids."""
        return [run for grid in self.grids for run in grid.runs]

    @property
    def strategies(self) -> list[str]:
        """The clipping strategies in order of appearance, the unclipped one first."""
        return names_of(self.runs)

    @property
    def shown(self) -> Comparison:
        """The comparison whose curves and forecasts are drawn: where unclipped validates best."""
        return min(
            self.grid.comparisons,
            key=lambda one: validation_rank(one.of(UNCLIPPED) or one.runs),
        )


def write_results(results: Results, path: Path) -> None:
    """Write strict JSON: NaN and infinite numbers become null."""
    text = json.dumps(_plain(asdict(results)), indent=2, allow_nan=False)
    write_text(path, text + "\n")


def read_results(path: Path) -> Results:
    """Read what `write_results` wrote."""
    record = json.loads(path.read_text(encoding="utf-8"))
    record["metrics"] = [Metric(**metric) for metric in record["metrics"]]
    for name in ("grid", "sweep"):
        if record[name] is not None:
            runs = [Run(**run) for run in record[name]["runs"]]
            record[name] = Grid(**{**record[name], "runs": runs})
    return Results(**record)


def repeatable(results: Results) -> dict[str, Any]:
    """What a repetition of the same comparison gives again, anywhere: all but times and places.

    Without the command, the date, the environment, the runs' seconds, and metrics that are not
    `repeatable`.
    """
    timed = {metric.name for metric in results.metrics if not metric.repeatable}
    record: dict[str, Any] = _plain(asdict(results))
    for name in ("command", "created", "environment"):
        del record[name]
    grids = [record["grid"], record["sweep"] or {"runs": []}]
    for run in (run for grid in grids for run in grid["runs"]):
        del run["seconds"]
        run["test"] = {name: run["test"][name] for name in run["test"] if name not in timed}
    record["baselines"] = {
        name: {metric: row[metric] for metric in row if metric not in timed}
        for name, row in record["baselines"].items()
    }
    return record


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
