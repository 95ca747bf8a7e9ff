from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from apps.errors import UserError
from apps.finance.data import make_windows
from apps.finance.features import HISTORY, Encoding, Features, compute, fit_encoding
from apps.finance.moving_average import base_variance
from tests.apps.finance.prices import make, tampered


@pytest.mark.parametrize("assets", [1, 3])
@pytest.mark.parametrize("row", [200, 900, 1398])
def test_the_future_moves_no_feature_of_the_past(assets, row):
    panel = make(assets)
    changed = tampered(panel, row)
    encoding = fit_encoding(panel, Features(), 1)
    before, after = encoding.encode(panel), encoding.encode(changed)
    np.testing.assert_array_equal(before[: row + 1], after[: row + 1])
    assert (before[row + 1] != after[row + 1]).any()
    np.testing.assert_array_equal(
        base_variance(panel)[: row + 1], base_variance(changed)[: row + 1]
    )


def test_scales_are_those_of_the_training_days_alone():
    panel = make()
    last = int(panel.dates.searchsorted(panel.val_start)) - 1
    assert fit_encoding(panel, Features(), 1) == fit_encoding(tampered(panel, last), Features(), 1)
    assert fit_encoding(panel, Features(), 1) != fit_encoding(
        tampered(panel, last - 1), Features(), 1
    )
    rows = fit_encoding(panel, Features(), 1).encode(panel)[HISTORY : last + 1]
    np.testing.assert_allclose(rows.mean(axis=(0, 1)), 0, atol=0.02)
    np.testing.assert_allclose(rows.std(axis=(0, 1)), 1, atol=0.05)


def test_features_by_hand():
    panel = make()
    found = compute(panel, ranges=True)
    r, base = panel.returns[:, 0], base_variance(panel)[:, 0]
    weights = 0.94 ** np.arange(500)[::-1]
    expected = (weights * r[1:501] ** 2).sum() / weights.sum()
    assert base[500] == pytest.approx(expected)
    assert found["shock"][500, 0] == pytest.approx(np.arcsinh(r[500] / np.sqrt(base[499])))
    assert found["week"][500, 0] == pytest.approx(r[496:501].sum() / np.sqrt(5 * base[500]))
    assert found["range_5"][500, 0] == pytest.approx(
        np.log(panel.ranges[496:501, 0].mean() / base[500])
    )


def test_features_follow_what_is_known():
    names = {
        case: set(fit_encoding(make(assets, ranges=ranges), Features(), 1).names)
        for case, (assets, ranges) in {
            "one": (1, True),
            "close": (1, False),
            "two": (2, True),
        }.items()
    }
    assert names["one"] - names["close"] == {"range_1", "range_5", "range_22"}
    assert names["two"] - names["one"] == {"market", "market_level"}
    plain = fit_encoding(make(), Features(inputs="returns"), 1)
    assert plain.names == ("return",)
    np.testing.assert_allclose(plain.encode(make())[5], make().returns[5, None], rtol=1e-6)


def test_a_window_ends_on_its_day_and_its_target_starts_after():
    panel = make(2)
    encoding = fit_encoding(panel, Features(lookback=7), 5)
    windows = make_windows(panel, encoding, np.array([300, 301]))
    assert len(windows) == 4
    window, base, returns = windows.__getitems__([3])  # day 301 of the second asset
    np.testing.assert_array_equal(window[0].numpy(), encoding.encode(panel)[295:302, 1])
    np.testing.assert_allclose(returns[0].numpy(), panel.returns[302:307, 1], rtol=1e-6)
    assert base.item() == pytest.approx(5 * base_variance(panel)[301, 1], rel=1e-5)
    assert window.dtype == torch.float32


def test_an_encoding_survives_json_and_refuses_others():
    encoding = fit_encoding(make(), Features(lookback=9), 5)
    assert Encoding.from_dict(json.loads(json.dumps(encoding.to_dict()))) == encoding
    for record in ({}, {"features": {"lookback": 0}}, {**encoding.to_dict(), "more": 1}):
        with pytest.raises(UserError, match="not a finance encoding"):
            Encoding.from_dict(record)
    with pytest.raises(ValueError, match="lookback must be >= 1"):
        Features(lookback=0)
    with pytest.raises(ValueError, match="inputs must be one of rich, returns"):
        Features(inputs="all")  # type: ignore[arg-type]
