"""What an application brings; everything else exists once, outside it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import lightning.pytorch as pl
import pandas as pd
from torch import nn

from apps.base.account import Account
from apps.base.source import Source
from apps.base.task import Optimization, Task
from apps.errors import UserError
from apps.report.charts.theme import Figure
from apps.report.model.results import Metric
from apps.report.model.step_records import Records
from apps.report.model.tables import NamedTable


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Held-out metrics by name, and the predictions they were computed from.

    fitted: what was fitted on validation data and predicting needs, as plain values; a run
    keeps it in its description.
    """

    metrics: dict[str, float]
    predictions: pd.DataFrame
    fitted: dict[str, Any] = field(default_factory=dict)


class DataModule(pl.LightningDataModule):
    """An application's data. After `setup`, `account` says what was loaded."""

    account: Account = Account()

    @property
    def description(self) -> dict[str, Any]:
        """What a trained run has to know about its data, as plain values for a JSON file."""
        return {}

    @property
    def preview(self) -> pd.DataFrame:
        """The data as they were read, to look at; an application without tables has none."""
        return pd.DataFrame()

    @property
    def fingerprint(self) -> str:
        """A hash that changes with the data."""
        raise TypeError(f"{type(self).__name__} must define fingerprint")


class Application(ABC):
    """One domain: its networks, its task, its baselines, its pictures.

    An application is named in `conf/app/<name>.yaml` and keeps its own choices of data, model,
    experiment and sweep under `conf/<name>/`. `metric` is the primary one among `metrics`;
    `trained_metric` the one by which trainings are compared with each other, where what is never
    trained has a part in the primary one and would hide differences between them.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    title: ClassVar[str]
    metric: ClassVar[str]
    trained_metric: ClassVar[str | None] = None
    metrics: ClassVar[tuple[Metric, ...]]
    sources: ClassVar[type] = Source  # of what kind is that which the configuration's `data` names

    @abstractmethod
    def datamodule(self, source: Any, seed: int) -> DataModule:
        """The data of a source (the object that the configuration's `data` describes)."""

    @abstractmethod
    def sizes(self, description: Mapping[str, Any]) -> dict[str, Any]:
        """Arguments of the network that follow from the data, such as the number of inputs."""

    @abstractmethod
    def task(
        self, net: nn.Module, description: Mapping[str, Any], optimization: Optimization
    ) -> Task:
        """Wrap a network with its loss."""

    def start(self, task: Task, data: Any) -> None:
        """Set what of a task's network has a closed form, before training; others have nothing.

        What it sets are buffers, so that a checkpoint has it.
        """
        return

    @abstractmethod
    def evaluate(self, task: Task, data: Any) -> Evaluation:
        """Score a trained task on the held-out test split."""

    def folds(self, data: Any) -> Sequence[Mapping[str, Any]]:
        """Settings (key to value) of each training that a run on these data consists of.

        None where it is one training.
        """
        return []

    def evaluate_folds(self, tasks: Sequence[Task], folds: Sequence[Any], data: Any) -> Evaluation:
        """Score the tasks of all folds together, each on its own data, as `evaluate` does one."""
        raise NotImplementedError(f"{type(self).__name__} has no folds")

    def examine(
        self, split: str, task: Task, data: Any, *, baselines: bool
    ) -> Iterator[tuple[str, Evaluation]]:
        """Score a trained task on another split than the test, beside whatever tells more, by name.

        Raises UserError for a split that there is none of.
        """
        raise UserError(f"test_split={split}: app={self.name} has no such split; allowed: test")

    @abstractmethod
    def baselines(self, data: Any) -> Iterator[tuple[str, Evaluation]]:
        """Fit what a practitioner would use instead and score it on the same split."""

    @abstractmethod
    def predict(
        self, task: Task, description: Mapping[str, Any], source: Path
    ) -> tuple[pd.DataFrame, str]:
        """Apply a trained task to the user's own file: a table, and one line on what was done.

        Raises UserError for a file that does not fit.
        """

    def predict_with(
        self,
        task: Task,
        description: Mapping[str, Any],
        source: Path,
        options: Mapping[str, Any],
    ) -> tuple[pd.DataFrame, str]:
        """Apply a trained task to a file of which options say more, as `predict` does without.

        Raises UserError for an option that the application does not take; most take none.
        """
        for key, value in options.items():
            raise UserError(f"{key}={value}: app={self.name} takes no {key}; leave it out")
        return self.predict(task, description, source)

    def predict_text(
        self, task: Task, description: Mapping[str, Any], text: str
    ) -> tuple[pd.DataFrame, str]:
        """Apply a trained task to one text, as `predict` does to a file."""
        raise UserError(f"text: app={self.name} reads no text; give input=FILE")

    @abstractmethod
    def figures(self, data: Any, predictions: Mapping[str, pd.DataFrame]) -> Sequence[Figure]:
        """Pictures for the report from the predictions of runs and baselines, by name."""

    def tables(self, data: Any, predictions: Mapping[str, pd.DataFrame]) -> Sequence[NamedTable]:
        """Tables for the report from the same predictions, if there are any to show."""
        return []

    def seed_tables(
        self,
        predictions: Mapping[str, Mapping[int, pd.DataFrame]],
        baselines: Mapping[str, pd.DataFrame],
    ) -> Sequence[NamedTable]:
        """Tables for the report from the predictions of every run, by strategy and seed."""
        return []

    def seed_figures(
        self,
        predictions: Mapping[str, Mapping[int, pd.DataFrame]],
        baselines: Mapping[str, pd.DataFrame],
    ) -> Sequence[Figure]:
        """Pictures for the report from the predictions of every run, by strategy and seed."""
        return []

    def training_figures(self, data: Any, records: Records) -> Sequence[Figure]:
        """Pictures for the report from the steps of all runs, if there are any to draw."""
        return []

    def explain(self, data: Any, steps: pd.DataFrame, diverged_at: int) -> str | None:
        """Why a run diverged at a step, in one line, as far as its `steps.csv` and data tell."""
        return None

    @property
    def notes(self) -> list[str]:
        """What a reader of the scores must know, in sentences."""
        return []
