"""Answers beside the rows of the user's file that they answer."""

from __future__ import annotations

import pandas as pd

PREFIX = "predicted_"


def beside(rows: pd.DataFrame, answers: pd.DataFrame) -> pd.DataFrame:
    """The user's columns as they are, and the answers, row by row.

    An answer whose name the user has taken is called `predicted_...`.

    >>> rows = pd.DataFrame({"text": ["good"], "label": ["x"]})
    >>> list(beside(rows, pd.DataFrame({"label": ["positive"], "score": [1.0]})))
    ['text', 'label', 'predicted_label', 'score']
    """
    taken = set(rows.columns)
    names = {}
    for name in answers.columns:
        free = str(name)
        while free in taken:
            free = PREFIX + free
        names[name] = free
        taken.add(free)
    return pd.concat([rows.reset_index(drop=True), answers.rename(columns=names)], axis=1)
