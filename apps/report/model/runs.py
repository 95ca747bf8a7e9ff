"""One training of a comparison: what was set, how it ended, what it scored."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

Status = Literal["completed", "diverged", "failed"]
Value = bool | int | float | str | None

UNCLIPPED = "none"


@dataclass(frozen=True, slots=True)
class Run:
    """One training: its settings, how it ended and what it scored on the test split.

    `clipping` is the strategy's name, with the values of its own swept settings where the grid
    compares them ("global_norm max_norm=0.1"). `settings` holds every swept key that the run
    takes, with its value. `run_dir` is relative to the report's folder. `test` of a diverged run
    is empty or holds the scores of its best checkpoint. `val_loss` is the lowest validation loss,
    by which the checkpoint was chosen. `falling`: it still fell when training ended.
    """

    clipping: str
    seed: int
    optimizer: str
    lr: float
    status: Status
    settings: dict[str, Value] = field(default_factory=dict)
    test: dict[str, float | None] = field(default_factory=dict)
    diverged_at: int | None = None
    error: str | None = None
    seconds: float = 0.0
    steps: int = 0
    clip_rate: float | None = None
    skipped: int = 0
    run_dir: str = ""
    command: str = ""
    val_loss: float | None = None
    falling: bool = False

    def __post_init__(self) -> None:
        if self.status not in ("completed", "diverged", "failed"):
            raise ValueError(f"run {self.run_dir}: status {self.status!r} is unknown")

    def score(self, metric: str) -> float | None:
        """The finite test score of a completed run; None for every other case."""
        value = self.test.get(metric)
        if self.status != "completed" or value is None or not math.isfinite(value):
            return None
        return value
