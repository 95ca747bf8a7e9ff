from __future__ import annotations

import numpy as np
import pytest
from scipy import integrate, stats

from apps.finance.distribution import empirical, log_density, normal, student
from apps.finance.forecast import LEVELS, TAILS


@pytest.mark.parametrize("freedom", [2.5, 4.0, 30.0])
def test_student_agrees_with_scipy(freedom):
    mean, variance = np.array([0.3]), np.array([4.0])
    quantiles, shortfall = student(mean, variance, np.array([freedom]))
    whole = stats.t(freedom, loc=0.3, scale=np.sqrt(4.0 * (freedom - 2) / freedom))
    assert whole.var() == pytest.approx(4.0)
    np.testing.assert_allclose(quantiles[0], whole.ppf(LEVELS))
    for level, found in zip(TAILS, shortfall[0], strict=True):
        area, _ = integrate.quad(whole.ppf, 0, level)
        assert found == pytest.approx(area / level, rel=1e-4)


def test_normal_agrees_with_scipy_and_with_a_very_mild_student():
    mean, variance = np.array([[-0.2, 0.1]]), np.array([[2.25, 0.5]])
    quantiles, shortfall = normal(mean, variance)
    assert quantiles.shape == (1, 2, len(LEVELS))
    assert shortfall.shape == (1, 2, len(TAILS))
    np.testing.assert_allclose(quantiles[0, 0], stats.norm(-0.2, 1.5).ppf(LEVELS))
    for mine, theirs in zip(
        (quantiles, shortfall), student(mean, variance, np.full((1, 2), 1e7)), strict=True
    ):
        np.testing.assert_allclose(mine, theirs, atol=1e-5)


def test_a_sample_covers_on_average_what_its_quantile_says():
    rng = np.random.default_rng(0)
    quantiles, shortfall = empirical(rng.random((500, 4000)))
    np.testing.assert_allclose(quantiles.mean(axis=0), LEVELS, atol=5e-4)
    assert (shortfall <= quantiles[:, [LEVELS.index(level) for level in TAILS]]).all()


def test_a_sample_by_hand_and_too_small():
    quantiles, shortfall = empirical(np.arange(1.0, 200.0))
    assert quantiles[LEVELS.index(0.01)] == pytest.approx(2.0)  # the 2nd of 199
    assert shortfall == pytest.approx([1.5, 5.5])  # means of 1, 2 and of 1 ... 10
    with pytest.raises(ValueError, match="98 values do not reach"):
        empirical(np.zeros(98))


@pytest.mark.parametrize("freedom", [4.0, 8.0])
def test_the_density_of_a_student_is_that_of_scipy_on_average(freedom):
    whole = stats.t(freedom, loc=0.3, scale=2 * np.sqrt((freedom - 2) / freedom))
    truth = whole.rvs(100_000, random_state=0)
    mean, variance = np.full_like(truth, 0.3), np.full_like(truth, 4.0)
    spread = student(mean, variance, np.full_like(truth, freedom))
    found = log_density(truth, variance, *spread)
    assert found.mean() == pytest.approx(whole.logpdf(truth).mean(), abs=3e-3)


def test_the_density_of_a_normal_between_the_outer_quantiles_is_exact():
    truth = np.linspace(-2.3, 2.3, 200)
    mean, variance = np.zeros(200), np.ones(200)
    found = log_density(truth, variance, *normal(mean, variance))
    np.testing.assert_allclose(found, stats.norm.logpdf(truth))


def test_a_density_holds_a_probability_of_one():
    truth = np.linspace(-40, 40, 200_001)
    skewed = empirical(np.random.default_rng(0).gumbel(size=500))
    spread = (np.broadcast_to(values, (len(truth), len(values))) for values in skewed)
    density = np.exp(log_density(truth, np.ones_like(truth), *spread))
    assert integrate.trapezoid(density, truth) == pytest.approx(1, abs=1e-3)


def test_a_value_of_half_a_sample_has_a_finite_density():
    sample = np.concatenate([np.zeros(200), np.random.default_rng(0).standard_normal(200)])
    quantiles, shortfall = empirical(sample)
    found = log_density(np.zeros(1), np.ones(1), quantiles[None], shortfall[None])
    assert np.isfinite(found).all()
