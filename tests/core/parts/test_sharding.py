"""Every rule does to sharded gradients, and tells of them, what it does and tells of whole ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.core.parts.processes import run_processes
from tests.core.parts.sharded import (
    LAYOUTS,
    LAYOUTS_OF_FOUR,
    STRATEGIES,
    all_strategies,
    clip_whole,
)

Results = list[dict[str, list[dict[str, Any]]]]


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return run_processes(2, tmp_path_factory.mktemp("two"), all_strategies, LAYOUTS, "float32")


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_shards_are_clipped_as_the_whole(two: Results, layout: str, strategy: str) -> None:
    assert_as_whole(two, layout, strategy, torch.float32)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_shards_of_four_processes(dtype: str, tmp_path: Path) -> None:
    layouts = LAYOUTS_OF_FOUR if dtype == "float32" else {"rows": LAYOUTS["rows"]}
    results = run_processes(4, tmp_path / "four", all_strategies, layouts, dtype)
    for layout in layouts:
        for strategy in STRATEGIES:
            assert_as_whole(results, layout, strategy, getattr(torch, dtype))


def assert_as_whole(results: Results, layout: str, strategy: str, dtype: torch.dtype) -> None:
    expected = clip_whole(STRATEGIES[strategy], dtype)
    first, *others = (result[f"{layout}/{strategy}"] for result in results)
    for other in others:
        assert_alike(other, first, rtol=0, atol=0)
    assert_alike(first, expected, rtol=1e-5, atol=1e-7)


def assert_alike(ours: Any, theirs: Any, **tolerance: float) -> None:
    """Equal structures, words and missing values; equal numbers within the tolerance."""
    if isinstance(theirs, dict):
        assert ours.keys() == theirs.keys()
        for key, value in theirs.items():
            assert_alike(ours[key], value, **tolerance)
    elif isinstance(theirs, list):
        assert len(ours) == len(theirs)
        for our, their in zip(ours, theirs, strict=True):
            assert_alike(our, their, **tolerance)
    elif isinstance(theirs, (torch.Tensor, float)):
        torch.testing.assert_close(ours, theirs, equal_nan=True, **tolerance)
    else:
        assert ours == theirs
