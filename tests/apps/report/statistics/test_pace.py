"""Loss spikes and the steps to a score, against plain loops and hand-made runs."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from apps.report.model.runs import Run
from apps.report.model.step_records import Records
from apps.report.statistics.pace import loss_spikes, paces, target_loss
from tests.apps.report.comparisons import run

ENDED = "completed"


def by_hand(losses: list[float]) -> int:
    found = 0
    for i in range(50, len(losses)):
        before = np.array(losses[max(0, i - 1000) : i])
        found += losses[i] - before.mean() > 7 * before.std(ddof=1)
    return found


@pytest.mark.parametrize("seed", range(3))
def test_spikes_equal_a_plain_loop(seed: int) -> None:
    rng = np.random.default_rng(seed)
    losses = 2 * np.exp(-np.arange(1500) / 300) + rng.normal(0, 0.05, 1500)
    losses[rng.integers(100, 1500, 6)] += rng.uniform(0.5, 20, 6)
    found = loss_spikes(losses.tolist())
    assert found == by_hand(losses.tolist())
    assert found > 0


def test_early_downward_and_lost_losses_are_no_spikes() -> None:
    calm = [1.0 + 0.01 * (-1) ** i for i in range(60)]
    assert loss_spikes([1.0] * 20 + [100.0]) == 0
    assert loss_spikes([*calm, -5.0]) == 0
    assert loss_spikes([*calm, math.inf, math.nan]) == 0
    assert loss_spikes([*calm, 5.0]) == 1
    assert loss_spikes([]) == 0


def trained(clipping: str, seed: int, val_loss: float | None, status: str = ENDED) -> Run:
    return run(clipping, seed, 1.0, val_loss=val_loss, status=status, run_dir=f"{clipping}-{seed}")


def records(curves: dict[str, list[float]]) -> Records:
    """Validation losses after 10, 20, ... steps; no losses by step."""
    rows = [
        {"run": name, "step": 10.0 * (i + 1), "val_loss": loss}
        for name, losses in curves.items()
        for i, loss in enumerate(losses)
    ]
    return Records(pd.DataFrame(columns=["run", "loss"]), pd.DataFrame(rows))


def test_the_target_is_what_unclipped_runs_reach() -> None:
    groups = {
        "none": [trained("none", 0, 0.5), trained("none", 1, 0.7), trained("none", 2, 0.9)],
        "clip": [trained("clip", 0, 0.2)],
    }
    assert target_loss(groups) == 0.7
    lost = [trained("none", 0, 0.1, "diverged")]
    assert (
        target_loss({"none": lost, "a": [trained("a", 0, 0.2)], "b": [trained("b", 0, 0.4)]}) == 0.4
    )
    assert target_loss({"none": lost}) is None


def test_runs_that_never_arrive_count_as_infinitely_slow() -> None:
    groups = {
        "none": [trained("none", 0, 0.5)],
        "fast": [trained("fast", seed, 0.4) for seed in range(3)],
        "slow": [trained("slow", seed, 0.6) for seed in range(3)],
    }
    curves = {
        "none-0": [0.9, 0.7, 0.5000001],
        "fast-0": [0.4],
        "fast-1": [0.8, 0.4, 0.3],
        "fast-2": [0.8, 0.8, 0.8],
        "slow-0": [0.5],
        "slow-1": [0.6, 0.6],
    }
    found = paces(groups, records(curves))
    assert (found["none"].steps, found["none"].reached) == (30.0, 1)
    assert (found["fast"].steps, found["fast"].reached, found["fast"].runs) == (20.0, 2, 3)
    assert (found["slow"].steps, found["slow"].reached) == (None, 1)
    assert found["fast"].spikes is None
