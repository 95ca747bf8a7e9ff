import numpy as np
import pandas as pd
import pytest

from apps.finance.accuracy_tests import MEAN, accuracy_tests
from apps.finance.backtests import diebold_mariano, qlike
from apps.finance.forecast import LEVELS, TAILS, Forecast

DAYS = 400


def forecast(variance: float) -> Forecast:
    draws = np.random.default_rng(0).normal(size=(DAYS, 1))
    levels = np.broadcast_to(np.linspace(-3, 3, len(LEVELS)), (DAYS, 1, len(LEVELS)))
    days = pd.date_range("2001-01-01", periods=DAYS)
    return Forecast(
        days,
        days,
        ("a",),
        truth=draws,
        realised=draws**2,
        mean=np.zeros((DAYS, 1)),
        variance=np.full((DAYS, 1), variance),
        quantiles=np.sqrt(variance) * levels,
        shortfall=np.full((DAYS, 1, len(TAILS)), -4.0),
    )


@pytest.fixture(scope="module")
def tables():
    trained = {"none": {0: forecast(1.0), 7: forecast(1.2)}, "zclip": {0: forecast(1.1)}}
    return accuracy_tests(trained, {"har": forecast(2.0), "ewma": forecast(1.0)}, horizon=1)


def test_every_seed_stands_against_every_baseline_and_then_their_mean(tables):
    rows = tables[0].table.groups[""]
    assert [(row[0].text, row[1].text) for row in rows] == [
        ("unclipped", "0"),
        ("unclipped", "7"),
        ("unclipped", MEAN),
        ("zclip", "0"),
    ]
    assert [column.head for column in tables[0].table.columns[2:]] == ["har", "ewma"]


def test_the_mean_of_seeds_tests_the_mean_of_their_losses(tables):
    losses = {v: qlike(forecast(v).variance, forecast(v).realised)[:, 0] for v in (1.0, 1.2, 2.0)}
    mean, _, p = diebold_mariano((losses[1.0] + losses[1.2]) / 2, losses[2.0])
    cell = tables[0].table.groups[""][2][2]
    assert cell.sort == pytest.approx(mean)
    assert cell.text.endswith("p < 0.001" if p < 0.001 else f"p = {p:.3f}")
    assert cell.bold == (p < 0.05)


def test_a_network_that_equals_a_baseline_differs_by_nothing(tables):
    assert tables[0].table.groups[""][0][3].text == "+0.0000, p = 1.000"


def test_each_loss_has_its_table(tables):
    assert [table.title.partition(":")[0] for table in tables] == ["QLIKE", "FZ 1 %"]


def test_without_baselines_there_is_nothing_to_test():
    assert accuracy_tests({"none": {0: forecast(1.0)}}, {}, 1) == []
