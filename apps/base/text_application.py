"""An application whose inputs are texts."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from apps.base.application import Application
from apps.base.task import Task
from apps.tables.answers import beside
from apps.tables.texts import read_texts, texts_of


class TextApplication(Application):
    """Predicts for each row of a table of texts, for each line of a file, or for one text."""

    @abstractmethod
    def text_column(self, description: Mapping[str, Any]) -> str:
        """The name of the column of texts that the run was trained on."""

    @abstractmethod
    def answer(
        self, task: Task, description: Mapping[str, Any], texts: Sequence[str]
    ) -> tuple[pd.DataFrame, str]:
        """A row of answers for each text, and one line on what was done."""

    def predict(
        self, task: Task, description: Mapping[str, Any], source: Path
    ) -> tuple[pd.DataFrame, str]:
        """Answers beside each row of a table, or for each line of a text."""
        name = self.text_column(description)
        rows = read_texts(source, name)
        answers, account = self.answer(task, description, texts_of(rows, name))
        return beside(rows.cells, answers), account

    def predict_text(
        self, task: Task, description: Mapping[str, Any], text: str
    ) -> tuple[pd.DataFrame, str]:
        """Answers for one text."""
        return self.answer(task, description, [text])
