"""Training in several processes: every clipper does and remembers what it would alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.core.parts.processes import run_processes
from tests.core.parts.test_sharding import assert_alike
from tests.core.parts.training import FAMILIES, refusals, train, train_all


def assert_as_alone(results: list[dict[str, Any]], case: tuple[str, str], steps: int) -> None:
    way, family = case
    alone = train("alone", family, steps)
    first, *others = (result[f"{way}/{family}"] for result in results)
    if family == "stable spam":
        # At the first step a peak is its own average: rounding says which is larger.
        for result in (alone, first, *others):
            del result["clip_rate"], result["state"]["clipped_steps"]
    for other in others:
        assert_alike(other, first, rtol=0, atol=0)
    assert_alike(first, alone, rtol=1e-6, atol=1e-9)
    assert first["acted"] > 0


def test_two_processes(tmp_path: Path) -> None:
    families = ("ema by parameter", "stable update", "spam", "chain")
    cases = [(way, family) for way in ("ddp", "fsdp", "tp") for family in families]
    cases += [("ddp accumulated", "adagc"), ("fsdp accumulated", "z-score")]
    results = run_processes(2, tmp_path, train_all, cases, 12)
    for case in cases:
        assert_as_alone(results, case, 12)


@pytest.mark.slow
@pytest.mark.parametrize("way", ["ddp", "fsdp"])
def test_every_family_in_two_processes(way: str, tmp_path: Path) -> None:
    cases = [(way, family) for family in FAMILIES]
    results = run_processes(2, tmp_path, train_all, cases)
    for case in cases:
        assert_as_alone(results, case, 60)


@pytest.mark.slow
def test_four_processes(tmp_path: Path) -> None:
    ways, families = ("ddp", "fsdp", "hsdp", "tp", "fsdp+tp"), ("z-score", "agc", "adagc")
    cases = [(way, family) for way in ways for family in families]
    results = run_processes(4, tmp_path, train_all, cases, 20)
    for case in cases:
        assert_as_alone(results, case, 20)


@pytest.mark.slow
def test_what_cannot_be_sharded_says_so(tmp_path: Path) -> None:
    for flat, elements in run_processes(2, tmp_path, refusals):
        assert "FSDP1" in flat
        assert "fully_shard" in flat
        assert "ACClip" in elements
        assert "\n" not in flat + elements


def test_alone_a_mean_over_processes_is_the_value_itself() -> None:
    from gradclip_core.parts.sharding import joint_mean

    value = torch.tensor(2.0)
    assert joint_mean(value) is value
