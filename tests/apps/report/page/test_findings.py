"""Findings say what the numbers say, and no more."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from apps.report import Grid, Metric, Results
from apps.report.model.step_records import read_records
from apps.report.page.findings import headline, verdict
from tests.apps.report.comparisons import make_results, make_sweep, run, two


def found(results: Results) -> str:
    return "\n".join(headline(results, read_records(results.shown, Path("/nowhere"))))


def test_a_knob_that_does_nothing_is_named() -> None:
    assert "clip never clipped; its runs are identical to unclipped." in found(two([1.0], [1.0]))


def test_unequal_runs_without_clipping_are_suspicious() -> None:
    assert "so the runs are no true twins" in found(two([1.1, 1.0], [1.0, 1.0]))


def test_noise_is_called_noise() -> None:
    text = found(two([0.8, 0.9, 1.2], [1.0, 1.0, 1.0], clip_rate=0.25))
    assert "clip, clipping 25.0 % of steps, shows no difference on Quantile loss beyond" in text
    assert "in 2 of 3 seeds" in text
    assert "than unclipped" not in text


@pytest.mark.parametrize(("shift", "word"), [(-0.2, "better"), (0.2, "worse")])
def test_clear_differences_are_stated_with_size_and_seeds(shift: float, word: str) -> None:
    theirs: list[float | None] = [1.0, 1.1, 0.9, 1.0, 1.05]
    ours = [loss + shift + 0.001 * i for i, loss in enumerate(theirs) if loss is not None]
    text = found(two([*ours], theirs, clip_rate=0.5))
    assert f"is {word} than unclipped on Quantile loss by 0.20 %" in text
    assert "in 5 of 5 seeds, 95 % interval of the gain" in text
    assert "indicative" not in text


@pytest.mark.parametrize(("loss", "share"), [(1.031, "3.1"), (1.99, "99"), (2.21, "121")])
def test_relative_sizes_are_plain_numbers(loss: float, share: str) -> None:
    assert f"(relative {share} %)" in found(two([loss, loss], [1.0, 1.0], clip_rate=0.5))


def test_few_seeds_are_only_indicative() -> None:
    assert "With 2 seeds per strategy the spread is only indicative." in found(
        two([0.8, 0.8], [1.0, 1.0], clip_rate=0.5)
    )


def test_one_seed_has_no_spread() -> None:
    assert "in the one seed compared: no spread is known" in found(two([0.8], [1.0], clip_rate=0.5))


def test_divergence_and_failure_come_first() -> None:
    runs = [
        run("none", 1, None, status="diverged"),
        run("none", 2, 1.0),
        run("clip", 1, 1.0, clip_rate=0.1),
        run("clip", 2, None, status="failed"),
        run("agc", 1, None, status="failed"),
    ]
    lines = found(make_results(runs)).splitlines()[2:]
    assert lines[0] == "Runs that diverged: unclipped 1 of 2, clip 0 of 2 and agc 0 of 1."
    assert lines[1] == "2 runs failed and left no score."
    assert "shares no completed seed with unclipped" in lines[2]
    assert lines[3] == "agc: no run completed."


@pytest.mark.parametrize(
    ("ridge", "said"),
    [
        (0.70, "worse than ridge (0.70); better than naive (5.00)."),
        (0.78, "worse than ridge (0.78); better than naive (5.00)."),
        (0.79, "at least as good as (within 2 %) ridge (0.79); better than naive (5.00)."),
        (0.81, "at least as good as (within 2 %) ridge (0.81); better than naive (5.00)."),
        (0.90, "better than ridge (0.90) and naive (5.00)."),
    ],
)
def test_every_baseline_is_told_who_wins(ridge: float, said: str) -> None:
    results = two([0.8], [1.0], clip_rate=0.5)
    baselines = {"naive": {"loss": 5.0}, "ridge": {"loss": ridge}, "broken": {"loss": None}}
    text = found(make_results(results.runs, baselines=baselines))
    assert f"The network, at its best mean (clip, Quantile loss 0.80), is {said}" in text


def test_who_wins_where_much_is_good() -> None:
    accuracy = Metric("loss", "Accuracy", "", "max", 2)
    runs = two([0.80], [0.75], clip_rate=0.5).runs
    baselines = {"tfidf": {"loss": 0.84}, "majority": {"loss": 0.5}, "svm": {"loss": 0.81}}
    results = make_results(runs, baselines=baselines, metrics=(accuracy,), direction="max")
    assert (
        "is worse than tfidf (0.84); at least as good as (within 2 %) svm (0.81); better than "
        "majority (0.50)." in found(results)
    )


def test_a_strategy_that_lost_runs_does_not_stand_for_the_network() -> None:
    runs = [run("none", 1, 1.0), run("clip", 1, 0.5), run("clip", 2, None, status="diverged")]
    text = found(make_results(runs, baselines={"ridge": {"loss": 0.7}}))
    assert "(unclipped, Quantile loss 1.00), is worse than ridge" in text


def test_the_sweep_is_told_in_counts_and_ranges() -> None:
    text = found(make_results([run("none", 1, 1.0)], sweep=make_sweep()))
    assert "with sgd, runs diverged or failed: unclipped at 2 of 5, global_norm at 0 of 5" in text
    assert "unclipped 0.01 to 0.1 (factor 10); global_norm 0.01 to 1 (factor 100)" in text


def test_the_verdict_comes_before_all() -> None:
    theirs: list[float | None] = [1.0, 1.1, 0.9, 1.0, 1.05]
    better = two([0.8, 0.91, 0.7, 0.82, 0.85], theirs, clip_rate=0.5)
    assert verdict(better) == "Verdict on Quantile loss: clip is better than unclipped."
    noise = two([1.1, 1.0, 1.0, 0.9, 1.0], theirs, clip_rate=0.5)
    text = "Verdict on Quantile loss: no difference between clipped and unclipped; one below "
    assert verdict(noise).startswith(text)
    assert found(noise).startswith(text)
    assert "none, for want of two seeds" in verdict(two([1.0], [1.1]))


def test_the_verdict_names_every_strategy_and_how_small_a_difference_would_show() -> None:
    theirs = [1.0, 1.1, 0.9]
    runs = [run("none", seed, loss) for seed, loss in enumerate(theirs)]
    runs += [run("near", seed, loss + 0.001 * seed) for seed, loss in enumerate(theirs)]
    runs += [run("far", seed, loss + 0.2 * (-1) ** seed) for seed, loss in enumerate(theirs)]
    text = verdict(make_results(runs))
    limits = re.search(r"; one below (\S+) % to (\S+) %, by strategy, would not show", text)
    assert limits is not None
    assert float(limits[1]) < 0.01 < 0.2 < float(limits[2])
    runs += [run("bad", seed, loss + 0.2 + 0.001 * seed) for seed, loss in enumerate(theirs)]
    expected = "bad is worse than unclipped; near and far are no different from unclipped."
    assert verdict(make_results(runs)) == f"Verdict on Quantile loss: {expected}"


def test_tuned_values_are_told_with_their_source() -> None:
    lr = "optimizer.lr"
    losses = {("none", 0.1): 2.0, ("none", 1.0): 9.0, ("clip", 0.1): 3.0, ("clip", 1.0): 1.0}
    runs = [
        run(name, 0, loss, lr=value, settings={lr: value}, val_loss=loss, clip_rate=0.5)
        for (name, value), loss in losses.items()
    ]
    text = found(make_results([], grid=Grid(runs, {lr: [0.1, 1.0]}, [lr])))
    assert "by validation loss: unclipped optimizer.lr=0.1; clip optimizer.lr=1." in text
    assert "better on Quantile loss by 1.00 %" in text


def test_settings_that_are_not_tuned_are_compared_apart() -> None:
    key, runs = "optimizer", []
    for value, gain in (("sgd", 0.5), ("adam", -0.5)):
        runs.append(run("none", 0, 1.0, settings={key: value}))
        runs.append(run("clip", 0, 1.0 - gain, settings={key: value}, clip_rate=0.5))
    text = found(make_results([], grid=Grid(runs, {key: ["sgd", "adam"]})))
    assert "optimizer=sgd: clip, clipping 50.0 % of steps, is better" in text
    assert "optimizer=adam: clip, clipping 50.0 % of steps, is worse" in text


def test_missing_unclipped_runs_are_said() -> None:
    assert "no unclipped runs" in found(make_results([run("clip", 1, 1.0)]))
