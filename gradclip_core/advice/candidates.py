"""The clippers that an advice chooses from, and what they would have done to recorded norms."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from gradclip_core.advice.record import Record, replay
from gradclip_core.advice.statistics import percentile
from gradclip_core.rules.band import Band
from gradclip_core.rules.clip_norm import ClipNorm
from gradclip_core.thresholds import (
    ClippedEma,
    Ema,
    Fixed,
    LogZScore,
    Median,
    Percentile,
    Relative,
    Threshold,
    ZScore,
)

# The layers that AGC leaves alone: the last linear one, by its usual names, if it has one of them.
LAST_LAYERS = r"(?#optional)(^|\.)(head|output|classifier|fc)\."


@dataclass(frozen=True, slots=True)
class Candidate:
    """A clipping rule by its name, its settings, and how to make it.

    strategy: its name in `conf/clipping`. overrides: what differs from that file, by key.
    threshold, arguments: the class of the threshold and its arguments.
    settings: further arguments of `ClipNorm`. band: the arguments of its `Band`, if it has one.
    """

    strategy: str
    overrides: Mapping[str, float | str | None]
    threshold: type[Threshold]
    arguments: Mapping[str, Any]
    settings: Mapping[str, Any] = field(default_factory=dict)
    band: Mapping[str, float] = field(default_factory=dict)

    @property
    def by(self) -> str:
        """What shares one threshold: model, module, parameter or row."""
        return str(self.settings.get("by", "model"))

    @property
    def line(self) -> str:
        """The rule as overrides of a command line."""
        values = {k: "null" if v is None else v for k, v in self.overrides.items()}
        return " ".join(
            [f"clipping={self.strategy}", *(f"clipping.{k}={v}" for k, v in values.items())]
        )

    @property
    def code(self) -> str:
        """The rule as Python, with the names of `gradclip_core`."""
        if self.threshold is Fixed:
            first = f"{self.arguments['value']}"
        else:
            first = f"{self.threshold.__name__}({_listed(self.arguments)})"
        band = f"band=Band({_listed(self.band)})" if self.band else ""
        return f"ClipNorm({', '.join(filter(None, [first, _listed(self.settings), band]))})"

    def clipper(self) -> ClipNorm:
        """The rule itself, with no history."""
        band = Band(**self.band) if self.band else None
        return ClipNorm(self.threshold(**self.arguments), band=band, **self.settings)


@dataclass(frozen=True, slots=True)
class Trial:
    """What a candidate would have done to the recorded norms.

    clipped_steps: share of the usable steps in which something was over its threshold.
    clipped_parts: mean share of the parts that were; None for AGC, whose rows were not recorded.
    coefficient: the smallest factor by which anything would have been scaled, but for the limit
        that a band sets.

    A training that had been clipped would have gone another way, so both are of the steps
    that were made, and no forecast.
    """

    candidate: Candidate
    clipped_steps: float
    clipped_parts: float | None
    coefficient: float


def global_norm(max_norm: float) -> Candidate:
    """A fixed threshold, to three significant digits."""
    value = float(f"{max_norm:.3g}")
    return Candidate("global_norm", {"max_norm": value}, Fixed, {"value": value})


def rolling_median(*, by_parameter: bool = False) -> Candidate:
    """Twice the running median, of the whole or of each parameter."""
    where = {"by": "parameter"} if by_parameter else {}
    return Candidate("rolling_median", where, Median, {"factor": 2.0}, where)


def log_z() -> Candidate:
    """Four deviations over the mean of the log-norm."""
    return Candidate("log_z", {}, LogZScore, {"deviations": 4.0})


def agc(factor: float) -> Candidate:
    """A share of the weights' norm, for each row of a matrix."""
    value = float(f"{factor:.3g}")
    overrides = {"max_norm.factor": value, "min_ndim": 2}
    settings = {"by": "row", "eps": 0.0, "exclude": LAST_LAYERS, "min_ndim": 2}
    return Candidate("agc", overrides, Relative, {"factor": value}, settings)


def spectral_ema() -> Candidate:
    """Singular values of each gradient, at half over the moving average of the largest."""
    return Candidate("spectral_ema", {}, Ema, {"factor": 1.5}, _SPECTRAL)


def spectral(max_norm: float) -> Candidate:
    """The same at a fixed threshold, to three significant digits."""
    value = float(f"{max_norm:.3g}")
    return Candidate("spectral", {"max_norm": value}, Fixed, {"value": value}, _SPECTRAL)


def aggc(record: Record) -> Candidate:
    """Each module in a band around its average after clipping.

    Above it is what one norm in ten was over, in multiples of the average before; below it what
    one in ten was under. Within a step a norm is moved by a tenth at most, as AGGC has it.
    """
    norms = record.by_module(record.parameters)
    ratios = norms / replay(Ema(1.0, _DECAY, entry_cap=math.inf), norms)
    ratios = ratios[ratios > 0]
    factor, least = (percentile(ratios, q) for q in (90, 10))
    factor, lower = (float(f"{value:.3g}") for value in (factor, least / factor))
    return Candidate(
        "aggc",
        {"max_norm.threshold.factor": factor, "max_norm.end": 1.0, "band.lower": lower},
        ClippedEma,
        {"factor": factor, "decay": _DECAY},
        {"by": "module"},
        {"lower": lower, "min_factor": 0.9, "max_factor": 1.1},
    )


_DECAY = 0.95  # AGGC's
_SPECTRAL = {"response": "clamp", "by": "parameter", "measure": "spectral"}


def candidates(record: Record) -> list[Candidate]:
    """What is worth a look for the usable steps of a record."""
    found = [
        global_norm(1.0),
        *(global_norm(percentile(record.norms, q)) for q in (90, 50)),
        rolling_median(),
        rolling_median(by_parameter=True),
        log_z(),
        Candidate("zclip", {"max_norm.cap": None}, ZScore, {"cap": None}),
        Candidate("ema", {}, Ema, {"factor": 1.5}),
        Candidate("rolling_quantile", {}, Percentile, {"q": 90.0, "window": 100}),
        Candidate("autoclip", {}, Percentile, {"q": 10.0}),
    ]
    if (record.singular < (1 - 1e-5) * record.parameters).any():  # there are matrices
        found += [spectral(percentile(record.singular.amax(1), 90)), spectral_ema()]
    if set(record.modules) != set(record.names):  # modules are known
        found.append(aggc(record))
    if has_units(record):
        found += [agc(0.01), agc(percentile(record.unit_ratios, 90))]
    return found


def has_units(record: Record) -> bool:
    """Whether there are rows that AGC would clip, with gradients."""
    return bool((record.unit_ratios > 0).all())


def attempt(candidate: Candidate, record: Record) -> Trial:
    """Replay the usable steps of a record through a candidate's own threshold."""
    norms, limits = _compared(candidate, record)
    over = norms > limits
    factors = torch.where(over, limits / norms, 1.0)
    return Trial(
        candidate,
        clipped_steps=float(over.any(dim=1).double().mean()),
        clipped_parts=None if candidate.by == "row" else float(over.double().mean()),
        coefficient=float(factors.min()),
    )


def _compared(candidate: Candidate, record: Record) -> tuple[Tensor, Tensor]:
    """The measured norms (t, k) and the thresholds they meet, (t, k)."""
    if candidate.by == "row":  # the ratios were taken with the same threshold, at the factor 1
        ratios = record.unit_ratios.unsqueeze(1)
        return ratios, candidate.arguments["factor"] * torch.ones_like(ratios)
    clipper = candidate.clipper()
    if candidate.by == "model":
        norms = record.norms.unsqueeze(1)
    elif candidate.by == "module":
        norms = record.by_module(record.parameters)
    else:
        norms = record.singular if "measure" in candidate.settings else record.parameters
    return norms, replay(clipper.threshold, norms, clipper.band)


def _listed(arguments: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in arguments.items())
