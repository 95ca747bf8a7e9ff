"""The first words of a report with a sweep."""

from __future__ import annotations

from apps.report import Grid
from apps.report.page.findings import lead
from apps.report.page.learnt import learnt
from tests.apps.report.comparisons import make_results, make_sweep, run


def test_the_sweep_is_told_before_the_verdict_in_plain_words() -> None:
    runs = [run("none", 1, 1.0), run("clip", 1, 1.0, clip_rate=0.25)]
    first, second, *_ = lead(make_results(runs, sweep=make_sweep()))
    assert first.startswith(
        "Without clipping sgd lost runs at 2 of 5 learning rates, with global_norm and autoclip "
        "at none. Quantile loss where each validates best: unclipped "
    )
    assert second.startswith("Verdict on Quantile loss")


def test_clipping_that_never_acted_is_told() -> None:
    runs = [run("none", 1, 1.0), run("clip", 1, 1.0, clip_rate=0.0)]
    assert "clipping never acted" in learnt(make_results(runs, sweep=make_sweep()))[1]


def test_without_a_sweep_or_an_unclipped_strategy_nothing_is_told() -> None:
    runs = [run("none", 1, 1.0), run("clip", 1, 1.0)]
    assert learnt(make_results(runs)) == []
    alone = [one for one in make_sweep().runs if one.clipping != "none"]
    sweep = Grid(alone, axes=make_sweep().axes)
    assert learnt(make_results(runs, sweep=sweep)) == []
