"""Gradient clipping for any PyTorch loop: composable, observable, checkpointable."""

from gradclip_core.advice import Advice, Advisor, advise
from gradclip_core.backward.in_backward import ClipBackward, clip_backward
from gradclip_core.backward.per_sample import ClipPerSample
from gradclip_core.backward.sample_gradients import SampleError
from gradclip_core.clipper import Clipper
from gradclip_core.composed.by_name import ByName
from gradclip_core.composed.chain import Chain, chain
from gradclip_core.composed.u_clip import UClip
from gradclip_core.guards import Guard, NonFiniteGradientError
from gradclip_core.in_step import ClippedStep, clip_in_step
from gradclip_core.report import ClipReport
from gradclip_core.rules.acclip import ACClip
from gradclip_core.rules.band import Band
from gradclip_core.rules.clip_norm import ClipNorm
from gradclip_core.rules.clip_value import ClipValue
from gradclip_core.rules.no_clip import NoClip
from gradclip_core.rules.power_clip import PowerClip
from gradclip_core.rules.random_clip import RandomClip
from gradclip_core.rules.rule import Rule
from gradclip_core.rules.spam import Spam
from gradclip_core.rules.spike import SkipOnSpike
from gradclip_core.rules.stable_spam import StableSpam
from gradclip_core.thresholds import (
    ClippedEma,
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
from gradclip_core.updates.clip_update import Clippy, ClipUpdate, StableUpdate
from gradclip_core.updates.spectra import Spectra

__all__ = [
    "ACClip",
    "Advice",
    "Advisor",
    "Band",
    "ByName",
    "Chain",
    "ClipBackward",
    "ClipNorm",
    "ClipPerSample",
    "ClipReport",
    "ClipUpdate",
    "ClipValue",
    "Clipper",
    "ClippedEma",
    "ClippedStep",
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
    "PowerClip",
    "QuantileTracker",
    "RandomClip",
    "Relative",
    "Rule",
    "SampleError",
    "Scheduled",
    "SkipOnSpike",
    "Spam",
    "Spectra",
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
    "clip_in_step",
]

__version__ = "0.1.0"
