"""From statistics to a recommendation: the rules, one by one.

The first that holds decides. Numbers without a source are our own choice.

1. Training broke down, or norms rose tenfold: a fixed global norm, the median of the first quarter
   of the steps. A threshold that follows the norms would follow them up.
2. Steps differ much (see `_unrest`) and the parts of the network do too: one of them makes nearly
   all of the norm, or (unless the optimizer divides it out) has far more gradient beside its
   weights than the others. One threshold for each of them. Under an optimizer whose step grows
   with the gradient: AGC, with the factor that one step in ten passed; under others, or without
   named matrices: twice each parameter's own running median.
3. Outliers of the matrices sit in few of their singular values (see `advice.matrices`): those are
   clamped, at half over the moving average of the largest. In place of 2 too.
4. Single spikes over an otherwise light tail: 4 deviations of the log-norm (RNMT+, Chen et al.
   2018, arXiv:1804.09849).
5. Steps differ much around a steady level: a fixed global norm, the 90th percentile of the norms.
6. Steps differ much around a level that moves: twice the running median (as ScaledAdam of
   icefall, Yao et al. 2023, arXiv:2310.11230).
7. Nothing stands out: the same as a safety net, which would have done next to nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from gradclip_core.advice.candidates import (
    Candidate,
    agc,
    global_norm,
    has_units,
    log_z,
    rolling_median,
    spectral_ema,
)
from gradclip_core.advice.matrices import MatrixStatistics, concentrated
from gradclip_core.advice.record import Record
from gradclip_core.advice.statistics import NormStatistics, PartStatistics, percentile

RISE = 10.0  # of the norms from the first to the last quarter: as good as a breakdown
HEAVY_INDEX = 2.0  # at or below this tail index the variance is infinite
HEAVY_RATIO = 3.0  # the rarest step in a hundred is so many times the typical one
# From this share of the steps on it is not chance that they are over twice the running median:
# log-normal norms with a deviation of 0.4 have 4 %.
NET_SHARE = 0.05
STEADY = 2.0  # factor by which the level of the norms may move and still count as steady
DOMINANT = 0.9  # share of the squared norm in one module
SPREAD = 100.0  # of the largest ratio of gradient to weights over the median module's


def choose(
    record: Record,
    norms: NormStatistics,
    modules: Sequence[PartStatistics],
    matrices: Sequence[MatrixStatistics],
    *,
    over_net: float,
    adaptive: bool,
) -> tuple[Candidate, list[str]]:
    """The candidate for the usable steps of a record, and the reasons in sentences.

    over_net: share of the steps over twice the running median.
    adaptive: whether a common factor cancels in the optimizer's step.
    """
    broken = _breakdown(norms)
    if broken:
        calm = percentile(record.norms[: max(len(record.norms) // 4, 1)], 50)
        return global_norm(calm), [
            broken,
            "A threshold that follows the norms would follow them up, so a fixed one: the median "
            "norm of the first quarter of the steps.",
        ]
    unrest = _unrest(norms, over_net)
    if not unrest:
        return rolling_median(), _nothing(over_net)
    few = concentrated(matrices)
    if few:
        reason = "So singular values are clamped, each matrix by half over its own moving average."
        return spectral_ema(), [*unrest, few, reason]
    uneven = _imbalance(modules, adaptive)
    if uneven:
        return _each_part(record, adaptive, [*unrest, uneven])
    return _whole(record, norms, unrest, over_net)


def _breakdown(norms: NormStatistics) -> str | None:
    if norms.broke_down:
        return f"Training without clipping broke down at step {norms.steps}."
    if norms.drift >= RISE:
        return (
            f"The norms rose to {norms.drift:.3g} times what they were, from the first to the "
            "last quarter of the steps."
        )
    return None


def _unrest(norms: NormStatistics, over_net: float) -> list[str]:
    """What sets some steps apart from others; empty where nothing does."""
    found = []
    if norms.spikes:
        found.append(
            f"{_steps(norms.spikes)} {'was' if norms.spikes == 1 else 'were'} a spike: more than "
            "4 deviations over the mean of the log-norm, and over twice the running median."
        )
    if norms.tail_index is not None and norms.tail_index <= HEAVY_INDEX:
        found.append(
            f"The tail of the norms is heavy: its Hill index is {norms.tail_index:.2g}, and at 2 "
            "or below the variance is infinite."
        )
    if norms.tail_ratio is not None and norms.tail_ratio >= HEAVY_RATIO:
        found.append(
            f"The largest steps in a hundred had {norms.tail_ratio:.3g} times the norm that was "
            "typical around them."
        )
    if over_net >= NET_SHARE:
        found.append(f"{over_net:.1%} of the steps were over twice the running median.")
    return found


def _is_heavy(norms: NormStatistics) -> bool:
    if norms.tail_index is None or norms.tail_ratio is None:
        return False
    return norms.tail_index <= HEAVY_INDEX or norms.tail_ratio >= HEAVY_RATIO


def _nothing(over_net: float) -> list[str]:
    little = "next to nothing" if over_net else "nothing"
    return [
        f"Nothing binds: no spike, a light tail, {over_net:.1%} of the steps over twice the "
        f"running median. On steps like these clipping will do {little}, for better or worse.",
        "Twice the running median is a safety net for steps unlike these; it needs no number of "
        "your own.",
    ]


def _imbalance(modules: Sequence[PartStatistics], adaptive: bool) -> str | None:
    """Why the parts of the network need thresholds of their own, if they do."""
    if len(modules) < 2:
        return None
    first = modules[0]
    if first.share >= DOMINANT:
        return (
            f"{first.name} alone makes {first.share:.0%} of the squared norm: one threshold for "
            "all would scale the others by what happens there."
        )
    ratios = sorted(part.ratio for part in modules)
    middle = ratios[len(ratios) // 2]
    if not adaptive and ratios[-1] >= SPREAD * middle:
        return (
            "Gradients are uneven beside the weights: the ratio of the two is "
            f"{ratios[-1] / middle:.3g} times as large in one module as in the middle one."
        )
    return None


def _each_part(record: Record, adaptive: bool, why: list[str]) -> tuple[Candidate, list[str]]:
    if adaptive or not has_units(record):
        reason = "So each parameter is bound by twice its own running median."
        return rolling_median(by_parameter=True), [*why, reason]
    reason = (
        "So each row of a matrix is bound by a share of its weights' norm (AGC): the one that the "
        "largest row passed in one step in ten."
    )
    return agc(percentile(record.unit_ratios, 90)), [*why, reason]


def _whole(
    record: Record, norms: NormStatistics, why: list[str], over_net: float
) -> tuple[Candidate, list[str]]:
    if norms.spikes and not _is_heavy(norms) and over_net < NET_SHARE:
        return log_z(), [*why, "Apart from that the norms are calm, so only spikes are cut."]
    if 1 / STEADY <= norms.drift <= STEADY:
        reason = (
            f"The level is steady (last to first quarter {norms.drift:.2g}), so a fixed threshold "
            "does: the 90th percentile, which clips one step in ten."
        )
        return global_norm(percentile(record.norms, 90)), [*why, reason]
    reason = (
        f"The level moves (last to first quarter {norms.drift:.2g}): a fixed threshold would soon "
        "bind always or never, one that follows stays."
    )
    return rolling_median(), [*why, reason]


def _steps(number: int) -> str:
    return f"{number} step" if number == 1 else f"{number} steps"
