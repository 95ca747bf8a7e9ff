"""What may be chosen for the application on finance, and the checks of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from apps.finance.recalibration import LEAST

Horizon = Literal[1, 5, 10, 22]
Partner = Literal["har", "gjr_garch_t"]
Base = Literal["moving_average", "har_gjr", "combined"]


def check_one_of(key: str, value: object, allowed: Sequence[object]) -> None:
    """Raise ValueError where a value is none of those allowed."""
    if value not in allowed:
        raise ValueError(f"{key} must be one of {', '.join(map(str, allowed))}, got {value!r}")


def check_counts(
    batch_size: int, samples_per_epoch: int, recalibration_days: int, refit_years: int | None
) -> None:
    """Raise ValueError where a number is too small."""
    if min(batch_size, samples_per_epoch) < 1:
        raise ValueError(
            f"batch_size={batch_size}, samples_per_epoch={samples_per_epoch}: both must be >= 1"
        )
    if recalibration_days != 0 and recalibration_days < LEAST:
        raise ValueError(f"recalibration_days must be 0 or >= {LEAST}, got {recalibration_days}")
    if refit_years is not None and refit_years < 0:
        raise ValueError(f"refit_years must be null or >= 0, got {refit_years}")
