from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from apps.energy.logarithm import Logarithm


@pytest.mark.parametrize(
    ("training", "floor"),
    [
        ([4.0, 5.0, 9.0], 2.0),
        ([0.0, 5.0, 9.0], None),
        ([-1.0, 5.0, 9.0], None),
        ([0.01, 5.0, 9.0], None),  # 500 times below the median: ratios would rule the fit
    ],
)
def test_only_loads_well_above_zero_have_one(training, floor):
    assert Logarithm.fit(np.array(training)) == Logarithm(floor)


@given(arrays(np.float64, 20, elements=st.floats(1.0, 10.0)))
def test_the_inverse_gives_the_targets_back(values):
    logarithm = Logarithm.fit(values)
    # exp(log(x)) is off by an ulp or two of log(x) <= 2.3, in relative terms.
    np.testing.assert_allclose(logarithm.inverse(logarithm.forward(values)), values, rtol=1e-14)


def test_later_targets_below_the_floor_count_as_the_floor():
    logarithm = Logarithm(2.0)
    found = logarithm.inverse(logarithm.forward(np.array([3.0, 1.0, 0.0, -7.0, np.nan])))
    np.testing.assert_allclose(found, [3.0, 2.0, 2.0, 2.0, np.nan])


def test_without_one_nothing_changes():
    values = np.array([-3.0, 0.0, np.nan])
    for change in (Logarithm(None).forward, Logarithm(None).inverse):
        np.testing.assert_array_equal(change(values), values)
    assert pd.isna(values[-1])


def test_what_a_broken_network_says_is_a_finite_number():
    assert np.isfinite(np.square(Logarithm(1.0).inverse(np.array([1e30, 400.0])))).all()
