"""The figures of the report."""

from __future__ import annotations

import numpy as np
import pandas as pd

from apps.finance.crash_figure import training_figures
from apps.finance.figures import crisis_windows, figures
from apps.finance.forecast import Forecast
from apps.report.charts.theme import specification
from apps.report.model.step_records import Records
from tests.apps.finance.runs import parts, read, record_of


def test_the_figures_show_what_they_say(ready, small):
    forecasts = {"none": read(ready), "gjr_garch_t": read(ready), "riskmetrics": read(ready)}
    drawn = figures({name: Forecast.from_frame(frame) for name, frame in forecasts.items()}, 1)
    assert [figure.name for figure in drawn] == [
        "volatility",
        "risk_band",
        "pit",
        "diebold_mariano",
    ]
    for figure in drawn:
        assert specification(figure.chart)["background"] == "transparent"
    assert figures({"garch": Forecast.from_frame(read(ready))}, 1) == []
    data = parts(small).data
    found = record_of(data, 8, 5).assign(clipping="global_norm", seed=0, status="completed")
    (figure,) = training_figures(data, Records(found, pd.DataFrame()))
    assert "global_norm cut away" in figure.caption
    assert training_figures(data, Records(found.iloc[:0], pd.DataFrame())) == []


def test_crises_are_the_worst_half_years_in_order():
    realised = pd.Series(np.ones(2000))
    realised[1500:1626] = 9.0
    realised[300:426] = 5.0
    windows = crisis_windows(realised)
    assert (300, 426) in windows
    assert (1500, 1626) in windows
    assert windows == sorted(windows)
    assert crisis_windows(realised[:200]) == []
