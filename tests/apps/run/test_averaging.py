from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from apps.run.averaging import exponential_average


@pytest.mark.parametrize("bad", [-0.1, 1.0, float("nan")])
def test_a_decay_that_is_no_share_is_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="decay must be a share"):
        exponential_average(bad)


def test_the_average_follows_the_warmed_up_decay() -> None:
    torch.manual_seed(0)
    net = nn.Linear(3, 2)
    averaged = AveragedModel(net, **exponential_average(0.9)._kwargs)
    expected = None
    for step in range(30):
        with torch.no_grad():
            net.weight.normal_()
        averaged.update_parameters(net)
        decay = min(0.9, (1 + step) / (10 + step))
        weight = net.weight.detach().double()
        expected = weight if expected is None else decay * expected + (1 - decay) * weight
    torch.testing.assert_close(averaged.module.weight.double(), expected, rtol=1e-5, atol=1e-6)


def test_places_and_counts_are_taken_as_they_are() -> None:
    net = nn.BatchNorm1d(2)
    averaged = AveragedModel(net, **exponential_average(0.9)._kwargs)
    for _ in range(3):
        net(torch.randn(4, 2))
        averaged.update_parameters(net)
    assert averaged.module.num_batches_tracked == net.num_batches_tracked == 3
