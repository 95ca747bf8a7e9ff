"""What applications without data of their own share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from apps.base.application import Application, Evaluation
from apps.base.task import Task
from apps.errors import UserError
from apps.report.charts.theme import Figure


class Synthetic(Application):
    """A problem made by formula: its answer is known, and no file holds one like it."""

    def sizes(self, description: Mapping[str, Any]) -> dict[str, int]:
        """The sizes of the problem."""
        return dict(description)

    def baselines(self, data: Any) -> Iterator[tuple[str, Evaluation]]:
        """None: the answer is known."""
        yield from ()

    def predict(
        self, task: Task, description: Mapping[str, Any], source: Path
    ) -> tuple[pd.DataFrame, str]:
        """Refuse: there is nothing to predict."""
        raise UserError(f"input={source}: app={self.name} is made by formula and reads no file")

    def figures(self, data: Any, predictions: Mapping[str, pd.DataFrame]) -> Sequence[Figure]:
        """None of single runs."""
        return []
