"""Gradient clipping for any PyTorch loop: composable, observable, checkpointable."""

from gradclip_core.acclip import ACClip
from gradclip_core.advice import Advice, Advisor, advise
from gradclip_core.by_name import ByName
from gradclip_core.carry import UClip
from gradclip_core.chain import Chain, chain
from gradclip_core.clip_norm import ClipNorm
from gradclip_core.clip_update import Clippy, ClipUpdate, StableUpdate
from gradclip_core.clip_value import ClipValue
from gradclip_core.clipper import Clipper
from gradclip_core.guards import Guard, NonFiniteGradientError
from gradclip_core.in_backward import ClipBackward, clip_backward
from gradclip_core.no_clip import NoClip
from gradclip_core.per_sample import ClipPerSample
from gradclip_core.random_clip import RandomClip
from gradclip_core.report import ClipReport
from gradclip_core.rule import Rule
from gradclip_core.sample_gradients import SampleError
from gradclip_core.spam import Spam
from gradclip_core.spike import SkipOnSpike
from gradclip_core.stable_spam import StableSpam
from gradclip_core.thresholds import (
    Ema,
    Fixed,
    LogZScore,
    Median,
    NoiseAware,
    Percentile,
    QuantileTracker,
    Relative,
    Scheduled,
    Threshold,
    TrailingNorm,
    WindowZScore,
    ZScore,
)

__all__ = [
    "ACClip",
    "Advice",
    "Advisor",
    "ByName",
    "Chain",
    "ClipBackward",
    "ClipNorm",
    "ClipPerSample",
    "ClipReport",
    "ClipUpdate",
    "ClipValue",
    "Clipper",
    "Clippy",
    "Ema",
    "Fixed",
    "Guard",
    "LogZScore",
    "Median",
    "NoClip",
    "NoiseAware",
    "NonFiniteGradientError",
    "Percentile",
    "QuantileTracker",
    "RandomClip",
    "Relative",
    "Rule",
    "SampleError",
    "Scheduled",
    "SkipOnSpike",
    "Spam",
    "StableSpam",
    "StableUpdate",
    "Threshold",
    "TrailingNorm",
    "UClip",
    "WindowZScore",
    "ZScore",
    "advise",
    "chain",
    "clip_backward",
]

__version__ = "0.1.0"
