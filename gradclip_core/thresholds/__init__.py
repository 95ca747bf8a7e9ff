"""Thresholds: the largest norm that each part of a gradient may keep."""

from gradclip_core.thresholds.base import Fixed, Threshold, as_threshold, claimed, thresholds_of
from gradclip_core.thresholds.clipped_ema import ClippedEma
from gradclip_core.thresholds.ema import Ema, LogZScore
from gradclip_core.thresholds.noise import NoiseAware
from gradclip_core.thresholds.percentile import Median, Percentile
from gradclip_core.thresholds.quantile import QuantileTracker
from gradclip_core.thresholds.relative import Relative
from gradclip_core.thresholds.scheduled import Scheduled
from gradclip_core.thresholds.trailing import TrailingNorm
from gradclip_core.thresholds.window import WindowZScore
from gradclip_core.thresholds.zscore import ZScore

__all__ = [
    "ClippedEma",
    "Ema",
    "Fixed",
    "LogZScore",
    "Median",
    "NoiseAware",
    "Percentile",
    "QuantileTracker",
    "Relative",
    "Scheduled",
    "Threshold",
    "TrailingNorm",
    "WindowZScore",
    "ZScore",
    "as_threshold",
    "claimed",
    "thresholds_of",
]
