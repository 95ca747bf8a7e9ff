"""The noisy quadratic: what it brings to the shared verbs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from torch import nn

from apps.base.application import Evaluation
from apps.base.task import Optimization, Task
from apps.report.model.results import Metric
from apps.synthetic.application import Synthetic
from apps.synthetic.noisy_quadratic.data import NoiseData
from apps.synthetic.noisy_quadratic.noise import Noise
from apps.synthetic.noisy_quadratic.task import QuadraticTask


class NoisyQuadratic(Synthetic):
    """Stochastic gradient descent on |x|^2 / 2 under noise of infinite variance.

    The arguments are documented in `conf/app/noisy_quadratic.yaml`.
    """

    sources = Noise
    title = "Noisy quadratic"
    metric = "mean"
    metrics = (
        Metric("mean", "Mean excess", "", "min", 4),
        Metric("median", "Median excess", "", "min", 4),
        Metric("q99", "99 % quantile", "", "min", 3),
        Metric("largest_share", "Largest one's share", "%", "min", 1),
    )

    def __init__(
        self, name: str, replications: int = 512, dimensions: int = 10, steps_per_epoch: int = 250
    ) -> None:
        super().__init__(name)
        if min(replications, dimensions, steps_per_epoch) < 1:
            raise ValueError(
                f"replications={replications}, dimensions={dimensions}, "
                f"steps_per_epoch={steps_per_epoch}: all must be >= 1"
            )
        self.shape = replications, dimensions
        self.steps_per_epoch = steps_per_epoch

    def datamodule(self, source: Noise, seed: int) -> NoiseData:
        """The noise of all steps."""
        return NoiseData(source, self.shape, steps_per_epoch=self.steps_per_epoch, seed=seed)

    def task(
        self, net: nn.Module, description: Mapping[str, Any], optimization: Optimization
    ) -> Task:
        """Wrap the points with the function."""
        return QuadraticTask(net, optimization)

    def evaluate(self, task: Task, data: NoiseData) -> Evaluation:
        """How far above the minimum the replications ended."""
        assert isinstance(task, QuadraticTask)
        excess = task.excess().double().cpu().numpy()
        scores = {
            "mean": float(excess.mean()),
            "median": float(np.median(excess)),
            "q99": float(np.quantile(excess, 0.99)),
            "largest_share": 100.0 * float(excess.max() / excess.sum()),
        }
        return Evaluation(scores, pd.DataFrame({"excess": excess}))

    @property
    def notes(self) -> list[str]:
        """What a reader of the scores must know."""
        return [
            f"Each run is {self.shape[0]} independent descents side by side, one in each row of a "
            "parameter; clipping treats each by itself only where it clips by row or by element. "
            "The loss of a step is the mean of f over them, the validation loss the median.",
        ]
