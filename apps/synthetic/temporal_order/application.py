"""The temporal order problem: what it brings to the shared verbs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
from torch import nn

from apps.base.application import Evaluation
from apps.base.task import Optimization, Task
from apps.report.model.results import Metric
from apps.synthetic.application import Synthetic
from apps.synthetic.temporal_order.data import SequenceData, Sequences
from apps.synthetic.temporal_order.task import OrderTask

SOLVED = 1.0  # % of the test sequences called wrongly, at which the problem counts as solved


class TemporalOrder(Synthetic):
    """Two symbols early and in the middle of a long sequence: which were they, in what order?

    The arguments are documented in `conf/app/temporal_order.yaml`.
    """

    sources = Sequences
    title = "Temporal order"
    metric = "solved"
    metrics = (
        Metric("solved", "Solved", "% of runs", "max", 0),
        Metric("error", "Errors", "%", "min", 2),
    )

    def __init__(self, name: str, batch_size: int = 20, steps_per_epoch: int = 250) -> None:
        super().__init__(name)
        if min(batch_size, steps_per_epoch) < 1:
            raise ValueError(
                f"batch_size={batch_size}, steps_per_epoch={steps_per_epoch}: both must be >= 1"
            )
        self.batch_size = batch_size
        self.steps_per_epoch = steps_per_epoch

    def datamodule(self, source: Sequences, seed: int) -> SequenceData:
        """Sequences of one length."""
        return SequenceData(
            source, batch_size=self.batch_size, steps_per_epoch=self.steps_per_epoch, seed=seed
        )

    def task(
        self, net: nn.Module, description: Mapping[str, Any], optimization: Optimization
    ) -> Task:
        """Wrap a network with the loss."""
        return OrderTask(net, optimization)

    def evaluate(self, task: Task, data: SequenceData) -> Evaluation:
        """Errors on the 10,000 test sequences, and whether they are few enough."""
        assert isinstance(task, OrderTask)
        symbols, classes = data.test
        called = task.classes(symbols).cpu()
        error = 100.0 * float((called != classes).double().mean())
        table = pd.DataFrame({"class": classes.numpy(), "called": called.numpy()})
        return Evaluation({"solved": 100.0 * (error < SOLVED), "error": error}, table)

    @property
    def notes(self) -> list[str]:
        """What a reader of the scores must know."""
        return [
            f"A run has solved the problem with fewer than {SOLVED:g} % errors on 10,000 test "
            "sequences; it ends early once validation has fewer than 0.5 %.",
        ]
