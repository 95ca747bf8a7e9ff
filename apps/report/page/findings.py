"""The report's findings in sentences, computed from the numbers and no stronger than they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from apps.report.model.formatting import (
    difference,
    fixed,
    label,
    listing,
    percent,
    settings_text,
    several,
)
from apps.report.model.grids import Comparison, Grid
from apps.report.model.results import Metric, Results
from apps.report.model.runs import UNCLIPPED
from apps.report.model.step_records import Records
from apps.report.page.learnt import learnt
from apps.report.statistics.pairing import Paired, against_unclipped
from apps.report.statistics.recommendation import recommended
from apps.report.statistics.summaries import clip_rate, count, identical, scores, summarize
from apps.report.statistics.sweep import value_counts, working_range

FEW_SEEDS = 5
SAME = 0.02  # of a baseline's score: a smaller difference is none
WORSE, BETTER = "worse than", "better than"
EQUAL = "at least as good as (within 2 %)"
_WORDS = {"better": BETTER, "worse": WORSE, "noise": "no different from"}


def headline(results: Results, records: Records | None = None) -> list[str]:
    """What the comparison found: the verdict, the recommendation, and then the details."""
    return [*lead(results), *details(results, records)]


def lead(results: Results) -> list[str]:
    """What a reader is told first: what was learnt from a sweep, the verdict, what to take."""
    return [*learnt(results), verdict(results), recommended(results)]


def details(results: Results, records: Records | None = None) -> list[str]:
    """What stands behind the verdict; with the records of `results.shown` thresholds, too."""
    sentences = []
    for compared, pairs in zip(results.grid.comparisons, against_unclipped(results), strict=True):
        where = settings_text(compared.settings)
        found = _one(results, compared, pairs, records if compared == results.shown else None)
        sentences += [f"{where}: {sentence}" if where else sentence for sentence in found]
    for grid in results.grids:
        sentences += _stability(grid)
    return [*sentences, *_caveat(results)]


def verdict(results: Results) -> str:
    """What the whole comparison says about clipping, in one sentence."""
    pairs = [
        (f"{name} at {where}" if (where := settings_text(one.settings)) else name, paired)
        for one, found in zip(results.grid.comparisons, against_unclipped(results), strict=True)
        for name, paired in found.items()
    ]
    label_of = results.trained.label
    known = [paired for _, paired in pairs if paired.verdict != "unknown"]
    if not known:
        return f"Verdict on {label_of}: none, for want of two seeds that clipped and unclipped end."
    said = [
        f"{listing(names)} {'is' if len(names) == 1 else 'are'} {word} unclipped"
        for found, word in _WORDS.items()
        if (names := [name for name, paired in pairs if paired.verdict == found])
    ]
    if any(paired.verdict in ("better", "worse") for paired in known):
        return f"Verdict on {label_of}: {'; '.join(said)}."
    limits = _limits(known, results)
    return f"Verdict on {label_of}: no difference between clipped and unclipped{limits}."


def _limits(pairs: Sequence[Paired], results: Results) -> str:
    """How large a difference would have had to be: it is another for each strategy."""
    limits = [paired.detectable for paired in pairs if paired.detectable is not None]
    if not limits:
        return ""
    low, high = (difference(end, results.trained) for end in (min(limits), max(limits)))
    reach = low if low == high else f"{low} to {high}, by strategy,"
    return f"; one below {reach} would not show"


def _one(
    results: Results,
    compared: Comparison,
    pairs: Mapping[str, Paired],
    records: Records | None,
) -> list[str]:
    """What one comparison found."""
    sentences = [*_tuned(compared), *_endings(compared)]
    if UNCLIPPED in compared.strategies:
        for name, paired in pairs.items():
            sentences.append(_against_unclipped(results, compared, paired, records, name))
    else:
        sentences.append("There are no unclipped runs to compare with.")
    return [*sentences, *_baselines(results, compared)]


def _tuned(compared: Comparison) -> list[str]:
    """Which value each strategy got, and how."""
    if not compared.tuned:
        return []
    parts = [f"{label(name)} {settings_text(chosen)}" for name, chosen in compared.tuned.items()]
    return [f"Tuned for each strategy on the same values, by validation loss: {'; '.join(parts)}."]


def _endings(compared: Comparison) -> list[str]:
    """Diverged and failed runs, strategy by strategy."""
    counts = {name: count(compared.of(name)) for name in compared.strategies}
    sentences = []
    if any(c.diverged for c in counts.values()):
        parts = [f"{label(name)} {c.diverged} of {c.total}" for name, c in counts.items()]
        sentences.append(f"Runs that diverged: {listing(parts)}.")
    falling = [sum(run.falling for run in compared.of(name)) for name in compared.strategies]
    if any(falling):
        sentences.append(
            f"In {sum(falling)} of {sum(c.total for c in counts.values())} runs the validation "
            "loss still fell when training ended: more training.epochs may score better."
        )
    failed = sum(c.failed for c in counts.values())
    if failed:
        sentences.append(f"{several(failed, 'run')} failed and left no score.")
    return sentences


def _against_unclipped(
    results: Results,
    compared: Comparison,
    paired: Paired,
    records: Records | None,
    name: str,
) -> str:
    runs, metric = compared.of(name), results.trained
    rate, bound = clip_rate(runs), records.bound(name) if records else None
    subject = f"{name} ({bound})" if bound else name
    if not any(run.status == "completed" for run in runs):
        return f"{subject}: no run completed."
    if rate == 0:
        twins = (
            "its runs are identical to unclipped"
            if identical(compared, name, results.metrics)
            else "yet its scores differ from unclipped, so the runs are no true twins"
        )
        return f"{subject} never clipped; {twins}."
    if rate is not None:
        subject += f", clipping {percent(rate)} of steps,"
    return f"{subject} {_verdict(paired, metric, compared)}."


def _verdict(paired: Paired, metric: Metric, compared: Comparison) -> str:
    if paired.gain is None:
        return "shares no completed seed with unclipped, so there is no paired comparison"
    if paired.better == paired.worse == 0:
        return f"scores the same as unclipped on {metric.label} in {_seeds(paired.n)}"
    word, times = ("better", paired.better) if paired.gain > 0 else ("worse", paired.worse)
    size = difference(paired.gain, metric) + _relative(paired.gain, metric, compared)
    if paired.interval is None:
        return f"is {word} on {metric.label} by {size} in the one seed compared: no spread is known"
    if paired.verdict == "noise":
        return (
            f"shows no difference on {metric.label} beyond seed noise: {word} by {size} on "
            f"average and in {times} of {_seeds(paired.n)}, {_evidence(paired, metric)}"
        )
    return (
        f"is {word} than unclipped on {metric.label} by {size}, in {times} of {_seeds(paired.n)}, "
        f"{_evidence(paired, metric)}"
    )


def _evidence(paired: Paired, metric: Metric) -> str:
    """The interval of the gain (negative means worse), the p-value, and what could be seen."""
    interval, p_value, digits = paired.interval, paired.p_value, metric.decimals + 1
    assert interval is not None
    assert p_value is not None
    text = f"95 % interval of the gain {interval.low:+.{digits}f} to {interval.high:+.{digits}f}"
    text += f", p {'< 0.001' if p_value < 0.001 else f'= {p_value:.2g}'}"
    if paired.family > 1:
        text += f" corrected for {paired.family} comparisons"
    if paired.verdict == "noise" and paired.detectable is not None:
        limit = difference(paired.detectable, metric)
        text += f"; {_seeds(paired.n)} with this spread show differences from about {limit} on"
    return text


def _relative(gain: float, metric: Metric, compared: Comparison) -> str:
    base = scores(compared.of(UNCLIPPED), metric).mean
    if metric.direction == "target" or not base:
        return ""
    share = abs(100 * gain / base)
    return f" (relative {share:.2g} %)" if share < 99.5 else f" (relative {share:.0f} %)"


def _seeds(n: int) -> str:
    return several(n, "seed")


def _baselines(results: Results, compared: Comparison) -> list[str]:
    metric = results.primary
    base = {name: summarize([row.get(metric.name)]) for name, row in results.baselines.items()}
    rivals = {name: one.mean for name, one in base.items() if one.mean is not None}
    ours = _means(compared, metric)
    if not rivals or not ours:
        return []
    best = min(ours, key=lambda name: metric.loss(ours[name]))
    groups: dict[str, list[str]] = {WORSE: [], EQUAL: [], BETTER: []}
    for name in sorted(rivals, key=lambda name: metric.loss(rivals[name])):
        word = _standing(metric.loss(ours[best]), metric.loss(rivals[name]))
        groups[word].append(f"{name} ({fixed(rivals[name], metric.decimals)})")
    said = [f"{word} {listing(names)}" for word, names in groups.items() if names]
    score = fixed(ours[best], metric.decimals)
    return [
        f"The network, at its best mean ({label(best)}, {metric.label} {score}), is "
        f"{'; '.join(said)}."
    ]


def _standing(ours: float, rival: float) -> str:
    """Who wins, in words; both are losses."""
    margin = SAME * abs(rival)
    if abs(ours - rival) <= margin:
        return EQUAL
    return BETTER if ours < rival else WORSE


def _means(compared: Comparison, metric: Metric) -> dict[str, float]:
    """Mean score per strategy; those that lost runs count only if every strategy did."""
    found = {name: scores(compared.of(name), metric) for name in compared.strategies}
    means = {name: s.mean for name, s in found.items() if s.mean is not None}
    whole = {name: mean for name, mean in means.items() if found[name].n == len(compared.of(name))}
    return whole or means


def _stability(grid: Grid) -> list[str]:
    """Where runs diverged over the numeric key, for each setting of the others."""
    if grid.axis is None:
        return []
    return [_over(grid.axis, swept) for swept in grid.along_axis]


def _over(axis: str, swept: Comparison) -> str:
    where = f"with {listing(sorted({run.optimizer for run in swept.runs}))}"
    others = {key: value for key, value in swept.settings.items() if key != "optimizer"}
    if others:
        where += f" and {settings_text(others)}"
    parts, widths = [], []
    for name in swept.strategies:
        bad, total = value_counts(swept.of(name), axis)
        parts.append(f"{label(name)} at {bad} of {total}")
        widths.append(f"{label(name)} {working_range(swept.of(name), axis) or 'nowhere'}")
    return (
        f"Over {axis} {where}, runs diverged or failed: {listing(parts)} values. "
        f"Range in which every run completed: {'; '.join(widths)}."
    )


def _caveat(results: Results) -> list[str]:
    groups = [one.of(name) for one in results.grid.comparisons for name in one.strategies]
    n = min((len(group) for group in groups), default=0)
    if n >= FEW_SEEDS:
        return []
    return [f"With {_seeds(n)} per strategy the spread is only indicative."]
