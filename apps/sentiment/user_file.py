"""The user's judgements of texts: what their columns are called, and what a label is."""

from __future__ import annotations

import math
import numbers
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from apps.tables.table import is_nested

# What people call a column of classes, of ratings; the first that is there is taken.
LABEL_NAMES = (
    *("label", "sentiment", "class", "polarity", "category", "airline_sentiment"),
    *("labels", "target", "emotion"),
)
RATING_NAMES = ("rating", "stars", "star_rating", "overall", "score")

# What programs write for a missing label; NA and None are what people call a class, too.
_MISSING = frozenset(["nan", "null", "<na>", "#n/a"])
_WHOLE = re.compile(r"([+-]?\d+)\.0+")


def as_label(value: Any) -> str | None:
    """A cell as the name of a class; None where it is missing.

    One rule for cells, for `data.classes` and for every format: blanks around are dropped, true
    and false are written in lower case, whole numbers without a fraction (0, 0.0, "0" and "0.0"
    are one class), a list of one label is that label, as tools for labelling write it, and null,
    NaN and the empty text are missing, as values or as words. Raises ValueError for another list
    or an object.
    """
    if isinstance(value, list | tuple | np.ndarray) and len(value) == 1:
        return as_label(value[0])
    if value is None or (isinstance(value, float) and math.isnan(value)) or value is pd.NA:
        return None
    if isinstance(value, bool):
        return str(value).lower()
    if is_nested(value):
        raise ValueError(f"{value!r} is no single label")
    if isinstance(value, numbers.Real) and float(value).is_integer():
        return str(int(float(value)))
    text = str(value).strip()
    if text.lower() in ("true", "false"):
        return text.lower()
    if text.lower() in _MISSING:
        return None
    whole = _WHOLE.fullmatch(text)
    return (whole[1] if whole else text) or None


def one_spelling(
    labels: Sequence[str | None], classes: Sequence[str] | None
) -> tuple[list[str | None], str]:
    """Labels that differ in case alone as one, and what was done; `classes` say how they are spelt.

    Without them the spelling that is there most often is taken.

    >>> one_spelling(["Good", "good", "Good", None], None)
    (['Good', 'Good', 'Good', None], '; good read as Good')
    """
    spelt = Counter(label for label in labels if label is not None)
    best = {label.casefold(): label for label, _ in reversed(spelt.most_common())}
    best |= {label.casefold(): label for label in reversed(classes or [])}
    chosen = {label: best[label.casefold()] for label in spelt if label not in (classes or ())}
    changed = [f"{label} read as {one}" for label, one in sorted(chosen.items()) if label != one]
    found = [None if label is None else chosen.get(label, label) for label in labels]
    return found, "".join(f"; {change}" for change in changed)


def in_order(labels: set[str]) -> tuple[str, ...]:
    """Labels in the order of their numbers, or of the alphabet where they are none."""
    try:
        return tuple(sorted(labels, key=float))
    except ValueError:
        return tuple(sorted(labels))
