from __future__ import annotations

import functools
import math

import pytest
import torch
from torch import nn

from apps.base.task import Optimization


@pytest.mark.parametrize("num_steps", [1, 2, 3, 9, 10, 11, 50])
@pytest.mark.parametrize("schedule", ["cosine", "onecycle"])
def test_a_schedule_of_any_length_ends_at_nothing(schedule: str, num_steps: int) -> None:
    optimization = Optimization(functools.partial(torch.optim.SGD, lr=0.5), schedule)
    optimizer = optimization.make_optimizer(nn.Linear(2, 1))
    scheduler = optimization.make_schedule(optimizer, num_steps)
    rates = []
    for step in range(num_steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if step + 1 < num_steps:
            scheduler.step()
    assert all(math.isfinite(rate) and 0 <= rate <= 0.5 for rate in rates)
    if num_steps > 2:
        assert rates[-1] < max(rates)
