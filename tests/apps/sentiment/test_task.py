"""The losses, beside scikit-learn's."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import log_loss, mean_squared_error
from torch import nn

from apps.base.task import Optimization
from apps.sentiment.corpus import polarity
from apps.sentiment.ridge import Ridge
from apps.sentiment.task import SentimentTask, num_outputs

OUTPUTS = torch.tensor([[0.3, 1.0, -1.0, 0.5], [-1.2, 0.2, 0.1, 0.0], [2.0, -1.0, 0.0, 3.0]])
RATINGS = torch.tensor([0.49, -0.5, 3.9])


class Fixed(nn.Module):
    def forward(self, words: torch.Tensor) -> torch.Tensor:
        return OUTPUTS


def task(weight: float) -> SentimentTask:
    return SentimentTask(Fixed(), Optimization(torch.optim.SGD), None, weight)


@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_the_polarity_adds_its_cross_entropy_to_training_alone(weight):
    batch = (torch.ones(3, 2, dtype=torch.long), RATINGS)
    squared = mean_squared_error(RATINGS / 2, OUTPUTS[:, 0])
    probabilities = torch.softmax(OUTPUTS[:, 1:].double(), dim=1).numpy()
    entropy = log_loss(polarity(pd.Series(RATINGS.numpy())), probabilities, labels=[0, 1, 2])
    assert task(weight).loss(batch).item() == pytest.approx(squared + weight * entropy, rel=1e-5)
    assert task(weight).validation_loss(batch).item() == pytest.approx(squared, rel=1e-5)
    np.testing.assert_allclose(task(weight).outputs(batch[0]), 2 * OUTPUTS[:, :1], rtol=1e-6)


def test_no_loss_sees_the_ridge():
    batch = (torch.ones(3, 2, dtype=torch.long), RATINGS)
    ridge = Ridge(4, None)
    ridge.set_weights(np.full((4, 1), 1e6), np.array([1e6]))
    with_ridge = SentimentTask(Fixed(), Optimization(torch.optim.SGD), None, 0.5, ridge)
    assert with_ridge.loss(batch) == task(0.5).loss(batch)
    assert with_ridge.validation_loss(batch) == task(0.5).validation_loss(batch)
    assert not list(with_ridge.parameters()), "nothing of it can be clipped or optimised"
    assert set(with_ridge.state_dict()) == {"ridge.weight", "ridge.bias"}


def test_outputs_that_a_network_needs():
    assert [num_outputs(None, 0.0), num_outputs(None, 0.5)] == [1, 4]
    assert [num_outputs(5, 0.0), num_outputs(5, 0.5)] == [5, 5]
