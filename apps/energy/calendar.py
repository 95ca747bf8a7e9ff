"""The step and the clock of a series: its frequency, its civil time and its split at days."""

from __future__ import annotations

import math
import zoneinfo

import numpy as np
import pandas as pd

from apps.energy.gaps import step_name
from apps.errors import UserError

DAY = pd.Timedelta(days=1)
SHORTEST = pd.Timedelta(minutes=15)
DAILY_HORIZON = 7
# Baselines look two weeks back; as much again is the least they can learn from.
LEAST_TRAINING_DAYS = 28


def parse_offset(offset: str) -> pd.Timedelta:
    """Turn a UTC offset such as `+10:00` or `Z` into a Timedelta; UserError if it is none."""
    try:
        difference = pd.Timestamp(f"2000-01-01T00:00{offset}").utcoffset()
    except ValueError:
        difference = None
    if difference is None:
        raise UserError(f"utc_offset {offset!r} is not a UTC offset such as +10:00")
    return pd.Timedelta(difference)


def to_civil(
    times: pd.DatetimeIndex, timezone: str | None, utc_offset: str | None
) -> pd.DatetimeIndex:
    """Civil (wall clock) times of a fixed clock at `utc_offset`, both tz-naive.

    Without a `timezone` the clock itself is the civil time. Raises UserError for an unknown
    zone and for a zone without an offset.
    """
    if timezone is None:
        return times
    if utc_offset is None:
        raise UserError(f"timezone {timezone} needs utc_offset, such as +10:00: the data's clock")
    utc = (times - parse_offset(utc_offset)).tz_localize("UTC")
    return utc.tz_convert(zone_of(timezone)).tz_localize(None)


def zone_of(timezone: str) -> zoneinfo.ZoneInfo:
    """A civil time zone by name; UserError for one that is unknown."""
    try:
        return zoneinfo.ZoneInfo(timezone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise UserError(f"timezone {timezone!r} is unknown; Europe/Berlin is one") from None


def detect_frequency(times: pd.DatetimeIndex, given: str | None, where: str) -> pd.Timedelta:
    """The given step, or the most common difference of increasing `times`.

    Raises UserError unless it is 15 minutes to 1 day and divides a day.
    """
    if given is not None:
        try:
            step = pd.Timedelta(given)
        except ValueError:
            raise UserError(f"frequency {given!r} is not a time step such as 30min") from None
    elif len(times) < 2:
        raise UserError(f"{where}: {len(times)} row is too few to tell the time step")
    else:
        steps, counts = np.unique(np.diff(times.to_numpy()), return_counts=True)
        step = pd.Timedelta(steps[np.argmax(counts)])
    if step > DAY:
        raise UserError(
            f"{where}: a row each {step.days} days; the rows must be a day or less apart"
        )
    if step < SHORTEST or DAY % step != pd.Timedelta(0):
        raise UserError(
            f"{where}: a time step of {step} is neither 15 min to 12 h dividing a day nor a day;"
            " average the rows to one such step, or set data.frequency if it is another"
        )
    return step


def split_days(
    times: pd.DatetimeIndex,
    frequency: pd.Timedelta,
    val_fraction: float,
    test_fraction: float,
    where: str,
) -> tuple[pd.Timestamp, pd.Timestamp, pd.Timestamp]:
    """Starts of validation and test, and the end, all midnights; the test comes last.

    Raises UserError for impossible fractions and when training would have less than four
    weeks, or validation or test less than one horizon (a day; a week for daily data).
    """
    train_fraction = 1.0 - val_fraction - test_fraction
    if min(val_fraction, test_fraction) <= 0.0 or train_fraction <= 0.0:
        raise UserError(
            f"val_fraction={val_fraction}, test_fraction={test_fraction}: both must be above 0"
            " and their sum below 1"
        )
    first, end = times[0].ceil("D"), (times[-1] + frequency).floor("D")
    days = max(0, (end - first) // DAY)
    least = DAILY_HORIZON if frequency == DAY else 1
    val_days, test_days = round(days * val_fraction), round(days * test_fraction)
    train_days = days - val_days - test_days
    if train_days < LEAST_TRAINING_DAYS or min(val_days, test_days) < least:
        needed = math.ceil(
            max(LEAST_TRAINING_DAYS / train_fraction, least / min(val_fraction, test_fraction))
        )
        raise UserError(
            f"{where}: {days} whole days of {step_name(frequency)} steps are too few; about"
            f" {needed} are needed ({LEAST_TRAINING_DAYS} to train, {least} each to validate"
            " and test)"
        )
    return end - (test_days + val_days) * DAY, end - test_days * DAY, end
