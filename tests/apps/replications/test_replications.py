"""Known results repeated: from an experiment's name to claims with their verdicts."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from apps.grid.experiment import with_experiment
from apps.replications import autoclip, heavy_tails, pascanu2013, repeat, spectral
from apps.report.model.grids import Grid
from apps.report.model.results import Metric, Results, read_results
from apps.report.model.runs import Run
from tests.conftest import succeed


def a_run(clipping, seed, settings, test, **more):
    status = more.pop("status", "completed")
    lr = settings.get("optimizer.lr", 0.1)
    return Run(clipping, seed, "sgd", lr, status, settings=settings, test=test, **more)


def results_of(runs, axes, metric, tuned=(), config=None):
    grid = Grid(runs, axes, list(tuned))
    return Results("app", "App", metric.name, metric.direction, [metric], grid, config=config or {})


def test_an_experiment_adds_what_the_command_line_does_not_say():
    added = with_experiment(["experiment=heavy_tails", "data.tail_index=1.5"])
    assert added[:2] == ["experiment=heavy_tails", "data.tail_index=1.5"]
    assert added[2:] == ["clipping=[none,gclip,cclip,acclip]", "logger=none"]
    for untouched in ([], ["app=energy"], ["experiment=nothing"], ["experiment=crash1987"]):
        assert with_experiment(untouched) == untouched


SOLVED = Metric("solved", "Solved", "%", "max")
AXES = {"data.length": [20, 50], "optimizer.lr": [0.1, 0.3]}


def temporal_order(rates):
    """Results of two seeds; rates: (strategy, length, lr) -> runs that solved it."""
    runs = [
        a_run(
            name,
            seed,
            {"data.length": length, "optimizer.lr": lr},
            {"solved": 100.0 * (seed < count)},
            val_loss=2.0 - count,
        )
        for (name, length, lr), count in rates.items()
        for seed in range(2)
    ]
    return results_of(runs, AXES, SOLVED, ["optimizer.lr"])


def counts(plain, clipped):
    points = [(length, lr) for length in (20, 50) for lr in (0.1, 0.3)]
    found = {("none", *point): n for point, n in zip(points, plain, strict=True)}
    return found | {("clip", *point): n for point, n in zip(points, clipped, strict=True)}


def test_success_is_that_of_the_rate_that_validates_best():
    known = pascanu2013.repeat(temporal_order(counts([1, 0, 0, 0], [0, 2, 1, 0])), None)
    assert [claim.agrees for claim in known.claims] == [True, True, True]
    assert "20 symbols: 100 % at 0.3 against 50 % at 0.1" in known.claims[0].measured
    assert "50 symbols: 50 % at 0.1 against 0 %" in known.claims[0].measured


def test_claims_that_do_not_hold_are_said_not_to():
    known = pascanu2013.repeat(temporal_order(counts([0, 2, 0, 2], [2, 0, 2, 0])), None)
    assert [claim.verdict for claim in known.claims] == ["does not agree"] * 3
    assert len(known.table.table.groups[""]) == 3
    assert all("does not agree" in sentence for sentence in known.sentences)


def test_a_run_that_diverged_has_not_solved_the_problem():
    runs = [a_run("none", 0, {}, {"solved": 100.0}, status="diverged")]
    runs += [a_run("clip", 0, {}, {"solved": 100.0})]
    known = pascanu2013.repeat(results_of(runs, {}, SOLVED, config={"data": {"length": 30}}), None)
    assert "30 symbols: 100 % against 0 %" in known.claims[0].measured
    assert known.claims[1].verdict == "not measured", "one length tells nothing of others"


@pytest.mark.parametrize("exponent", [0.5, 2 / 3])
def test_the_exponent_is_that_of_the_course(exponent, tmp_path):
    steps = np.arange(1, 1_001)
    runs = []
    for name, power in (("none", 0.0), ("gclip", exponent)):
        (tmp_path / name).mkdir()
        losses = 7.0 * steps**-power
        pd.DataFrame({"step": steps - 1, "loss": losses}).to_csv(tmp_path / name / "steps.csv")
        test = {"mean": losses[-1], "median": 0.1, "largest_share": 90.0 if power == 0 else 1.0}
        runs.append(a_run(name, 0, {"data.tail_index": 1.5}, test, run_dir=name))
    results = results_of(runs, {"data.tail_index": [1.5]}, Metric("mean", "Mean"))
    known = heavy_tails.repeat(results, tmp_path)
    assert f"{exponent:.2f} (proven 0.67) at index 1.5" in known.claims[0].measured
    assert [claim.agrees for claim in known.claims] == [exponent > 0.56, True, None]


def test_percentiles_stand_against_unclipped_seed_by_seed():
    metric = Metric("wql", "wQL", "%", "min")
    key = autoclip.PERCENTILE
    runs = [a_run("none", seed, {}, {"wql": 5.0 + seed}) for seed in range(3)]
    for percentile, gain in ((10.0, 1.0), (50.0, 2.0), (100.0, 0.0)):
        name = f"autoclip max_norm.q={percentile:g}"
        runs += [a_run(name, s, {key: percentile}, {"wql": 5.0 + s - gain}) for s in range(3)]
    known = repeat("autoclip", results_of(runs, {key: [10.0, 50.0, 100.0]}, metric), None)
    assert [claim.agrees for claim in known.claims] == [True, True]
    said = known.claims[0].measured
    assert "5 at 10, 4 at 50, 6 at 100; unclipped 6. Best at 50" in said
    assert "better than unclipped in 3 of 3 seeds, by 1 on average" in said
    nothing = repeat("autoclip", results_of(runs[:3], {}, metric), None)
    assert [claim.agrees for claim in nothing.claims] == [None, None]


def of_low_rank(means, factors=(0.1, 1.0)):
    """Results of two seeds; means: strategy -> (the first score, its exponent, its best t)."""
    axes = {"data.tail_index": [1.5], "app.steps": [10, 40], "clipping.t": [*factors]}
    runs = []
    for name, (first, power, best) in means.items():
        for t in factors if best else [None]:
            worse = 1.0 if t == best else 2.0
            for k in axes["app.steps"]:
                score = worse * first * (k / 10) ** -power
                settings = {"data.tail_index": 1.5, "app.steps": k}
                settings |= {"clipping.t": t} if t else {}
                for seed in range(2):
                    test = {"mean": score * (1 + 0.1 * seed)}
                    runs.append(a_run(name, seed, settings, test, val_loss=score))
    return results_of(runs, axes, Metric("mean", "Mean"), ["clipping.t"])


def test_each_way_to_clip_a_matrix_has_the_factor_that_validates_best():
    found = of_low_rank({"none": (9, 0, None), "clamp": (2, 0.4, 1.0), "norm": (3, 0.5, 0.1)})
    known = spectral.repeat(found, None)
    assert [claim.agrees for claim in known.claims] == [True, True, True]
    assert "index 1.5 (proven 0.40): clamp 0.40, none 0.00, norm 0.50" in known.claims[0].measured
    assert "K 10: clamp 2.1 (t 1), norm 3.15 (t 0.1)" in known.claims[1].measured
    assert "K 40: 9.45 against 1.21" in known.claims[2].measured


def test_claims_on_singular_values_that_do_not_hold_or_cannot_be_told():
    worse = {"none": (1, 0, None), "clamp": (2, 0.2, 1.0), "element": (2, 0.5, 1.0)}
    known = spectral.repeat(of_low_rank(worse), None)
    assert [claim.agrees for claim in known.claims] == [False, False, False]
    known = spectral.repeat(of_low_rank({"none": (9, 0, None), "norm": (3, 0.5, 0.1)}), None)
    assert [claim.agrees for claim in known.claims] == [None, None, None]


def test_other_experiments_repeat_nothing():
    runs = [a_run("none", 0, {}, {"solved": 0.0})]
    for experiment in (None, "crash1987"):
        assert repeat(experiment, results_of(runs, {}, SOLVED), None) is None


@pytest.mark.usefixtures("in_process")
def test_the_ordinary_verb_ends_in_a_picture_and_a_table_of_claims(tmp_path):
    small = ("app.replications=8", "app.steps_per_epoch=12", "training.epochs=1", "seeds=1")
    few = ("clipping=[none,gclip]", "data.tail_index=1.5", "jobs=1")
    said = succeed("compare", "experiment=heavy_tails", *small, *few, f"output_dir={tmp_path}")
    assert "proven 0.67" in said
    page = (tmp_path / "report.html").read_text()
    assert "A known result, repeated" in page
    assert "1912.03194" in page
    assert (tmp_path / "figures" / "heavy_tails.png").stat().st_size > 5_000
    assert read_results(tmp_path / "results.json").strategies == ["none", "gclip"]
