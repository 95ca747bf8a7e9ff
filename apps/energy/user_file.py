"""The user's file that a trained run forecasts from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from apps.energy.encoding import Encoding
from apps.energy.recalibration import LEAST
from apps.energy.series import Series, read_history
from apps.energy.table import TableOptions
from apps.errors import UserError

_ALL = np.ones(0, dtype=bool)  # makes `Series` mark every row as observed


def read_user_file(
    path: Path, encoding: Encoding, options: TableOptions, recalibration_days: int
) -> tuple[Series, pd.DatetimeIndex]:
    """The series of a file and the origins to forecast from, the last being the real one.

    The file has the columns the run was trained on and is read as that of the training was. Rows
    at its end with an empty target are the future and give the covariates of the coming steps;
    where none are known ahead they may be left out. The earlier origins, a day apart (a week for
    weekdays) where the history reaches, serve the recalibration.

    Raises UserError for a file whose step differs, with too little history, or without the
    covariates of the whole horizon.
    """
    series = read_history(path, options, clock_offset=encoding.utc_offset)
    step = pd.Timedelta(encoding.frequency)
    if series.frequency != step:
        raise UserError(f"{path}: a row each {series.frequency}, but the run has {step}")
    series = _extended(series, encoding, path)
    origin = series.test_start
    history = encoding.history_days * encoding.steps_per_day
    known = int(series.positions(pd.DatetimeIndex([origin]))[0])
    if known < history:
        raise UserError(
            f"{path}: {known} rows with a target; a forecast needs the {history} rows "
            f"({encoding.history_days} days) before it"
        )
    wanted = max(recalibration_days, LEAST) + encoding.horizon_days - 1 if recalibration_days else 0
    days = 7 if series.weekdays else 1
    earlier = min((known - history) // (days * encoding.steps_per_day), wanted)
    return series, pd.date_range(end=origin, periods=earlier + 1, freq=f"{days}D")


def options_of(description: Mapping[str, Any], encoding: Encoding) -> TableOptions:
    """How to read a file for a run: as its training file; older runs noted less of it."""
    if "options" in description:
        return TableOptions.from_dict(description["options"])
    return TableOptions(
        target=encoding.target,
        timestamp=encoding.timestamp,
        known=encoding.covariates,
        past=encoding.past_covariates,
        timezone=encoding.timezone,
        utc_offset=encoding.utc_offset,
    )


def _extended(series: Series, encoding: Encoding, path: Path) -> Series:
    """The series with all rows of the horizon; they can be added where nothing is known ahead."""
    frame, step = series.frame, series.frequency
    end = series.test_start + encoding.horizon * step
    found = (series.end - series.test_start) // step
    if found >= encoding.horizon:
        return replace(series, frame=frame[frame.index < end], end=end, observed=_ALL)
    if encoding.covariates:
        raise UserError(
            f"{path}: {found} rows after the last known {encoding.target}; the forecast needs "
            f"{encoding.horizon} rows with {', '.join(encoding.covariates)} and an empty "
            f"{encoding.target}"
        )
    index = pd.date_range(frame.index[0], end - step, freq=step)
    return replace(series, frame=frame.reindex(index), end=end, observed=_ALL)
