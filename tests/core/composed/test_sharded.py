"""Composed clippers in two processes: as in one, also where a process has no gradient at all."""

from __future__ import annotations

from typing import Any

import pytest

from tests.core.composed.sharded import CLIPPERS, train, train_all
from tests.core.parts.processes import run_processes
from tests.core.parts.test_sharding import assert_alike

Results = list[dict[str, list[dict[str, Any]]]]


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return run_processes(2, tmp_path_factory.mktemp("two"), train_all)


@pytest.mark.parametrize("kind", CLIPPERS)
def test_a_process_without_gradients_goes_along(two: Results, kind: str) -> None:
    expected = train(kind, sharded=False)
    first, second = (result[kind] for result in two)
    assert_alike(second, first, rtol=0, atol=0)
    assert_alike(first, expected, rtol=1e-6, atol=1e-9)
    assert any(record["report"]["skipped"] for record in expected)
    assert any(record["report"]["clipped"] for record in expected)
