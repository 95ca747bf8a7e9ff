"""Long tables of cases, thinned out for the default run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest


def thinned(cases: Sequence[Any], step: int) -> list[Any]:
    """The cases, each a tuple of values, all but every `step`-th for the slow run alone.

    It suits tables whose neighbours are of one kind.
    """
    return [
        case if number % step == 0 else pytest.param(*case, marks=pytest.mark.slow)
        for number, case in enumerate(cases)
    ]
