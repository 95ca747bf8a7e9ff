"""Which strategy the runs of a comparison recommend, by a rule that the report states."""

from __future__ import annotations

from dataclasses import dataclass

from apps.report.model.formatting import label, listing
from apps.report.model.grids import validation_rank
from apps.report.model.results import Results
from apps.report.model.runs import UNCLIPPED
from apps.report.statistics.pairing import against_unclipped
from apps.report.statistics.summaries import count, scores

RULE = (
    "How the recommendation is made: of the strategies that score better than unclipped beyond "
    "noise (as the verdict has it), or where there is none of those that do not score worse, "
    "unclipped among them, the one that lost the smallest share of its runs in the whole report. "
    "Of equals unclipped, as then clipping gains nothing, else the one with the lowest validation "
    "loss."
)


@dataclass(frozen=True, slots=True)
class Recommendation:
    """The strategy to take, and what the rule went by.

    `better` and `worse` are the strategies that score so against unclipped beyond noise, `equals`
    those that lost as small a share of their runs as `name`, and `lost` the number of runs that
    did not complete, in all grids and among them at the setting compared, and of all runs.
    """

    name: str
    better: list[str]
    worse: list[str]
    equals: list[str]
    lost: dict[str, tuple[int, int, int]]


def recommend(results: Results) -> Recommendation | None:
    """The strategy that `RULE` recommends; None where no strategy completed two seeds."""
    shown = results.shown
    scored = [scores(shown.of(name), results.trained).n for name in shown.strategies]
    if UNCLIPPED not in shown.strategies or max(scored) < 2:
        return None
    pairs = against_unclipped(results)[results.grid.comparisons.index(shown)]
    better, worse = (
        [name for name, paired in pairs.items() if paired.verdict == word]
        for word in ("better", "worse")
    )
    lost = {name: _lost(results, name) for name in shown.strategies}
    allowed = better or [name for name in shown.strategies if name not in worse]
    shares = {name: lost[name][0] / lost[name][2] for name in allowed}
    fewest = [name for name in allowed if shares[name] == min(shares.values())]
    chosen = min(fewest, key=lambda name: (name != UNCLIPPED, validation_rank(shown.of(name))))
    return Recommendation(chosen, better, worse, [n for n in fewest if n != chosen], lost)


def _lost(results: Results, name: str) -> tuple[int, int, int]:
    every = count(run for run in results.runs if run.clipping == name)
    here = count(results.shown.of(name))
    return every.total - every.completed, here.total - here.completed, every.total


def recommended(results: Results) -> str:
    """The recommendation and its reasons in one or two sentences."""
    found = recommend(results)
    if found is None:
        return "Recommended: none, as no strategy completed two seeds."
    if found.name == UNCLIPPED:
        return (
            "Recommended: unclipped. Clipping gains nothing here: no strategy scores better beyond "
            f"noise or loses a smaller share of its runs ({_runs(found)})."
        )
    if found.name in found.better:
        why = f"it scores better than unclipped beyond noise ({_runs(found)})"
    else:
        why = (
            "as a safeguard: it does not score better than unclipped beyond noise, but fewer of "
            f"its runs are lost ({_runs(found)})"
        )
    return f"Recommended: {found.name}, {why}.{_among(found)}"


def _runs(found: Recommendation) -> str:
    """The lost runs of the recommended strategy and of the unclipped one."""
    names = dict.fromkeys([found.name, UNCLIPPED])
    return "lost: " + listing([f"{label(name)} {_count(*found.lost[name])}" for name in names])


def _count(lost: int, here: int, total: int) -> str:
    where = f", {here or 'none'} of them at the setting compared" if lost else ""
    return f"{lost} of {total}{where}"


def _among(found: Recommendation) -> str:
    if not found.equals:
        return ""
    verb = "is its equal" if len(found.equals) == 1 else "are its equals"
    chosen = f"{found.name} has the lowest validation loss among them"
    return f" {listing(found.equals)} {verb} in this; {chosen}."
