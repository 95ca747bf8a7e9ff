"""The user's judgements of texts: what their columns are called, and what a label is."""

from __future__ import annotations

import math
import numbers
import re
from typing import Any

import pandas as pd

# What people call a column of classes, of ratings; the first that is there is taken.
LABEL_NAMES = ("label", "sentiment", "class", "polarity", "category", "airline_sentiment")
RATING_NAMES = ("rating", "stars", "star_rating", "overall", "score")

_WHOLE = re.compile(r"([+-]?\d+)\.0+")


def as_label(value: Any) -> str | None:
    """A cell as the name of a class; None where it is missing.

    One rule for cells, for `data.classes` and for every format: blanks around are dropped, true
    and false are written in lower case, whole numbers without a fraction (0, 0.0, "0" and "0.0"
    are one class), and null, NaN and the empty text are missing. Raises ValueError for a list or
    an object.
    """
    if value is None or (isinstance(value, float) and math.isnan(value)) or value is pd.NA:
        return None
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | dict):
        raise ValueError(f"{value!r} is no single label")
    if isinstance(value, numbers.Real) and float(value).is_integer():
        return str(int(float(value)))
    text = str(value).strip()
    if text.lower() in ("true", "false"):
        return text.lower()
    whole = _WHOLE.fullmatch(text)
    return (whole[1] if whole else text) or None


def in_order(labels: set[str]) -> tuple[str, ...]:
    """Labels in the order of their numbers, or of the alphabet where they are none."""
    try:
        return tuple(sorted(labels, key=float))
    except ValueError:
        return tuple(sorted(labels))
