"""How names and numbers are written."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from apps.report.model.results import Metric
from apps.report.model.runs import UNCLIPPED, Value

PLUS_MINUS, DASH = "\u00b1", "\u2013"


def label(clipping: str) -> str:
    """A strategy's name for readers."""
    return "unclipped" if clipping == UNCLIPPED else clipping


def settings_text(settings: Mapping[str, Value]) -> str:
    """Settings as one gives them: "optimizer=sgd, optimizer.lr=0.1"; numbers kept whole."""
    return ", ".join(f"{key}={value_text(value)}" for key, value in settings.items())


def value_text(value: Value) -> str:
    """A setting's value as one gives it."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    return f"{value:.12g}" if isinstance(value, float) else str(value)


def fixed(value: float | None, decimals: int) -> str:
    """A number with so many decimals; a dash for a missing one."""
    if value is None or not math.isfinite(value):
        return DASH
    return f"{value:.{decimals}f}"


def short(value: float | None) -> str:
    """A number with three significant digits."""
    if value is None or math.isnan(value):
        return DASH
    return f"{value:.3g}"


def percent(share: float | None) -> str:
    """A share as a percentage that says 0 or 100 only for exactly nothing or all."""
    if share is None or math.isnan(share):
        return DASH
    if 0 < share < 0.001:
        return "<0.1 %"
    if 0.999 < share < 1:
        return ">99.9 %"
    return f"{100 * share:.1f} %" if 0 < share < 1 else f"{100 * share:.0f} %"


def difference(value: float, metric: Metric) -> str:
    """The size of a difference, never rounded to nothing."""
    text = f"{abs(value):.{metric.decimals}f}"
    if float(text) == 0 and value != 0:
        text = f"{abs(value):.1g}"
    return f"{text} {metric.unit}".strip()


def duration(seconds: float) -> str:
    """Seconds, minutes or hours, whichever reads best."""
    if seconds < 100:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def several(n: int, noun: str) -> str:
    """A count with its noun."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def listing(parts: Sequence[str]) -> str:
    """Words joined by commas and a final "and"."""
    return " and ".join(filter(None, [", ".join(parts[:-1]), *parts[-1:]]))
