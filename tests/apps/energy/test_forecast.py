from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.energy.forecast import LEVELS, Forecast, concatenate


def forecast(
    num_origins: int = 3, horizon: int = 4, levels: tuple[float, ...] = LEVELS, seed: int = 0
) -> Forecast:
    rng = np.random.default_rng(seed)
    origins = pd.date_range("2024-01-01", periods=num_origins, freq="D")
    times = origins.to_numpy()[:, None] + np.arange(horizon) * np.timedelta64(1, "h")
    shape = (num_origins, horizon)
    quantiles = np.sort(rng.normal(size=(*shape, len(levels))), axis=-1)
    return Forecast(origins, times, rng.normal(size=shape), quantiles, levels)


def assert_same(a: Forecast, b: Forecast) -> None:
    assert a.levels == b.levels
    assert a.origins.equals(b.origins)
    for name in ("times", "truth", "quantiles"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))


@settings(max_examples=30)
@given(num_origins=st.integers(1, 5), horizon=st.integers(1, 6), seed=st.integers(0, 99))
def test_frame_and_back(num_origins, horizon, seed):
    original = forecast(num_origins, horizon, seed=seed)
    frame = original.to_frame()
    assert list(frame.columns[:4]) == ["origin", "timestamp", "truth", "q0.1"]
    assert len(frame) == num_origins * horizon
    assert_same(Forecast.from_frame(frame), original)


def test_an_unknown_truth_survives():
    original = forecast()
    original.truth[:] = np.nan
    assert np.isnan(Forecast.from_frame(original.to_frame()).truth).all()


def test_frame_with_unequal_or_mixed_origins_is_refused():
    frame = forecast().to_frame()
    with pytest.raises(ValueError, match="different numbers"):
        Forecast.from_frame(frame.iloc[:-1])
    with pytest.raises(ValueError, match="stand together"):
        Forecast.from_frame(frame.sort_values("q0.1"))


def test_median_and_quantile():
    original = forecast()
    np.testing.assert_array_equal(original.median, original.quantiles[:, :, 4])
    np.testing.assert_array_equal(original.quantile(0.9), original.quantiles[:, :, 8])
    with pytest.raises(ValueError, match=r"0\.5 is not among"):
        _ = forecast(levels=(0.1, 0.9)).median


def test_between_and_concatenate_are_inverse():
    original = forecast(5)
    cut = original.origins[2]
    first = original.between(original.origins[0], cut)
    last = original.between(cut, cut + pd.Timedelta("9D"))
    assert (len(first.origins), len(last.origins)) == (2, 3)
    assert_same(concatenate([first, last]), original)
    with pytest.raises(ValueError, match="cannot be joined"):
        concatenate([original, forecast(levels=(0.5,))])


@pytest.mark.parametrize("levels", [(), (0.5, 0.5), (0.9, 0.1), (0.0, 0.5), (0.5, 1.0)])
def test_levels_must_increase_within_0_and_1(levels):
    with pytest.raises(ValueError, match="must increase"):
        forecast(levels=levels)


def test_shapes_must_fit():
    good = forecast()
    with pytest.raises(ValueError, match="have shapes"):
        Forecast(good.origins, good.times, good.truth[:, :2], good.quantiles, good.levels)
