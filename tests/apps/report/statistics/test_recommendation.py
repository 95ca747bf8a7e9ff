"""The recommended strategy follows the rule that the report states."""

from __future__ import annotations

from apps.report import Results, Run
from apps.report.statistics.recommendation import recommend, recommended
from tests.apps.report.comparisons import make_results, make_sweep, run, two

BASE: list[float | None] = [1.0, 1.1, 0.9, 1.0, 1.05]


def shifted(name: str, shift: float, val_loss: float = 1.0) -> list[Run]:
    """Runs that differ from unclipped ones by a shift, the same in each seed to a thousandth."""
    losses = [loss + shift + 0.001 * i for i, loss in enumerate(BASE) if loss is not None]
    return [run(name, seed, loss, val_loss=val_loss) for seed, loss in enumerate(losses)]


def unclipped() -> list[Run]:
    return [run("none", seed, loss, val_loss=1.0) for seed, loss in enumerate(BASE)]


def noise() -> Results:
    return two([1.1, 1.0, 1.0, 0.9, 1.0], BASE)


def test_where_nothing_is_gained_it_is_unclipped() -> None:
    found = recommend(noise())
    assert found is not None
    assert (found.name, found.better, found.worse, found.equals) == ("none", [], [], ["clip"])
    text = recommended(noise())
    assert text.startswith("Recommended: unclipped. Clipping gains nothing here: no strategy")
    assert text.endswith("(lost: unclipped 0 of 5).")


def test_a_strategy_that_saves_runs_is_a_safeguard() -> None:
    results = make_results(
        [run(n, seed, 1.0 + 0.1 * seed) for n in ("none", "global_norm") for seed in (0, 1)],
        sweep=make_sweep(),
    )
    text = recommended(results)
    assert text.startswith("Recommended: global_norm, as a safeguard: it does not score better")
    lost = sum(one.status != "completed" for one in make_sweep().runs)
    every = sum(one.clipping == "none" for one in make_sweep().runs) + 2
    assert f"unclipped {lost} of {every}, none of them at the setting compared)" in text
    assert "lost: global_norm 0 of" in text


def test_better_beyond_noise_outweighs_lost_runs_and_worse_is_out() -> None:
    runs = [*unclipped(), *shifted("good", -0.2), *shifted("bad", 0.2, val_loss=0.1)]
    found = recommend(make_results(runs))
    assert found is not None
    assert (found.name, found.better, found.worse) == ("good", ["good"], ["bad"])
    assert "good, it scores better than unclipped beyond noise" in recommended(make_results(runs))
    lost = [*runs, run("good", 9, None, status="diverged"), run("none", 9, 1.0)]
    assert recommended(make_results(lost)).startswith("Recommended: good")
    worse = [*unclipped(), *shifted("bad", 0.2), run("none", 9, None, status="diverged")]
    assert recommended(make_results(worse)).startswith("Recommended: unclipped")


def test_among_equals_validation_chooses_and_never_the_test() -> None:
    one, other = shifted("one", -0.2, val_loss=0.5), shifted("other", -0.3, val_loss=0.6)
    text = recommended(make_results([*unclipped(), *one, *other]))
    assert text.startswith("Recommended: one, it scores better")
    assert text.endswith(
        "other is its equal in this; one has the lowest validation loss among them."
    )


def test_where_only_clipped_runs_end_they_are_recommended() -> None:
    runs = [run("none", seed, None, status="diverged") for seed in range(3)]
    runs += [run("clip", seed, 1.0 + 0.1 * seed) for seed in range(3)]
    text = recommended(make_results(runs))
    assert text.startswith("Recommended: clip, as a safeguard")
    assert "unclipped 3 of 3, 3 of them at the setting compared" in text


def test_one_seed_recommends_nothing() -> None:
    assert "none, as no strategy completed two seeds" in recommended(two([0.5], [1.0]))
    alone = make_results([run("clip", seed, 1.0) for seed in range(3)])
    assert recommend(alone) is None
