"""Low-rank noise: what it brings to the shared verbs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
from torch import nn

from apps.base.application import Evaluation
from apps.base.task import Optimization, Task
from apps.report.model.results import Metric
from apps.synthetic.application import Synthetic
from apps.synthetic.low_rank_noise.data import RankOne, RankOneData
from apps.synthetic.low_rank_noise.task import MatricesTask


class LowRankNoise(Synthetic):
    """Stochastic gradient descent on |X|^2 / 2 over matrices, under outliers of rank one.

    The arguments are documented in `conf/app/low_rank_noise.yaml`.
    """

    sources = RankOne
    title = "Low-rank noise"
    metric = "mean"
    metrics = (
        Metric("mean", "Mean squared gradient norm", "", "min", 3),
        Metric("median", "Median of the matrices", "", "min", 3),
        Metric("largest_share", "Largest one's share", "%", "min", 1),
    )

    def __init__(self, name: str, matrices: int = 48, side: int = 16, steps: int = 300) -> None:
        super().__init__(name)
        if matrices < 2 or min(side, steps) < 1:
            raise ValueError(
                f"matrices={matrices}, side={side}, steps={steps}: must be >= 2, >= 1 and >= 1"
            )
        self.shape = matrices, side
        self.steps = steps

    def datamodule(self, source: RankOne, seed: int) -> RankOneData:
        """The noise of all steps."""
        return RankOneData(source, self.shape, steps=self.steps, seed=seed)

    def task(
        self, net: nn.Module, description: Mapping[str, Any], optimization: Optimization
    ) -> Task:
        """Wrap the matrices with the function."""
        return MatricesTask(net, optimization)

    def evaluate(self, task: Task, data: RankOneData) -> Evaluation:
        """The squared gradient norm over the steps of the matrices that tuned nothing."""
        assert isinstance(task, MatricesTask)
        means = task.scored().double().cpu()
        scores = {
            "mean": float(means.mean()),
            "median": float(means.median()),
            "largest_share": 100.0 * float(means.max() / means.sum()),
        }
        return Evaluation(scores, pd.DataFrame({"mean_squared_norm": means.numpy()}))

    @property
    def notes(self) -> list[str]:
        """What a reader of the scores must know."""
        return [
            f"Each run is {self.shape[0]} independent descents side by side, a parameter each. "
            "Scores are of half of them; the validation loss, which tunes keys, is the mean "
            "squared gradient norm of the others.",
        ]
