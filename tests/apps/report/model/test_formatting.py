"""Names and numbers as readers see them."""

from __future__ import annotations

import math

import pytest

from apps.report.model.formatting import (
    DASH,
    difference,
    duration,
    fixed,
    label,
    listing,
    percent,
    short,
)
from tests.apps.report.comparisons import METRICS


@pytest.mark.parametrize(
    ("share", "text"),
    [(0, "0 %"), (1e-6, "<0.1 %"), (0.123, "12.3 %"), (0.99999, ">99.9 %"), (1, "100 %")],
)
def test_zero_and_all_are_said_only_when_exact(share: float, text: str) -> None:
    assert percent(share) == text


def test_missing_numbers_are_dashes() -> None:
    assert {fixed(None, 2), fixed(math.inf, 2), short(None), percent(None)} == {DASH}


def test_a_difference_is_never_rounded_to_nothing() -> None:
    assert difference(-0.2, METRICS[0]) == "0.20 %"
    assert difference(0.00012, METRICS[0]) == "0.0001 %"


@pytest.mark.parametrize(
    ("seconds", "text"), [(1.23, "1.2 s"), (42, "42 s"), (150, "2.5 min"), (9000, "2.5 h")]
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_names_and_lists() -> None:
    assert label("none") == "unclipped"
    assert listing(["a"]) == "a"
    assert listing(["a", "b", "c"]) == "a, b and c"
