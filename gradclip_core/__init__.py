"""Gradient clipping for any PyTorch loop: composable, observable, checkpointable."""

from gradclip_core.clip_norm import ClipNorm
from gradclip_core.clip_value import ClipValue
from gradclip_core.clippers import Clipper, NoClip
from gradclip_core.guards import Guard, NonFiniteGradientError
from gradclip_core.relative import Relative
from gradclip_core.report import ClipReport
from gradclip_core.thresholds import Fixed, Percentile, Threshold

__all__ = [
    "ClipNorm",
    "ClipReport",
    "ClipValue",
    "Clipper",
    "Fixed",
    "Guard",
    "NoClip",
    "NonFiniteGradientError",
    "Percentile",
    "Relative",
    "Threshold",
]

__version__ = "0.1.0"
