"""Sequences of norms with a known answer, and the advice that they get."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gradclip_core.advice import Advice
from gradclip_core.advice.advice import make_advice
from gradclip_core.advice.candidates import attempt, global_norm
from gradclip_core.advice.meaning import meaning
from tests.core.advice.records import lognormal, record_of

WEIGHT = torch.nn.Parameter(torch.zeros(2))
ADAM = torch.optim.Adam([WEIGHT])
SGD = torch.optim.SGD([WEIGHT], lr=0.5)


def heavy(steps: int = 150, seed: int = 0) -> np.ndarray:
    """Norms with an infinite variance around a steady level."""
    return np.random.default_rng(seed).pareto(1.3, steps) + 1.0


def line(advice: Advice) -> str:
    return advice.choice.line


def said(advice: Advice, *words: str) -> bool:
    text = " ".join((*advice.reasons, *advice.notes))
    return all(word in text for word in words)


@pytest.mark.parametrize("seed", range(3))
def test_calm_norms_are_told_that_clipping_will_do_nothing(seed: int) -> None:
    advice = make_advice(record_of(lognormal(seed=seed)), ADAM)
    assert line(advice) == "clipping=rolling_median"
    assert said(advice, "Nothing binds", "clipping will do nothing")
    (trial,) = (trial for trial in advice.trials if trial.candidate == advice.choice)
    assert trial.clipped_steps == 0.0
    assert trial.coefficient == 1.0


@pytest.mark.parametrize("seed", range(3))
def test_a_heavy_tail_around_a_steady_level_gets_the_ninetieth_percentile(seed: int) -> None:
    norms = heavy(seed=seed)
    advice = make_advice(record_of(norms), ADAM)
    assert advice.choice.strategy == "global_norm"
    assert advice.choice.overrides["max_norm"] == pytest.approx(np.percentile(norms, 90), rel=5e-3)
    assert said(advice, "tail of the norms is heavy", "one step in ten")
    (trial,) = (trial for trial in advice.trials if trial.candidate == advice.choice)
    assert trial.clipped_steps == pytest.approx(0.1, abs=0.01)


def test_a_heavy_tail_around_a_moving_level_gets_a_threshold_that_follows() -> None:
    advice = make_advice(record_of(heavy() * np.geomspace(30, 1, 150)), ADAM)
    assert line(advice) == "clipping=rolling_median"
    assert said(advice, "The level moves")


def test_single_spikes_are_cut_and_nothing_else() -> None:
    norms = lognormal(300)
    norms[[80, 200]] *= 50
    advice = make_advice(record_of(norms), ADAM)
    assert line(advice) == "clipping=log_z"
    assert said(advice, "2 steps were a spike")
    (trial,) = (trial for trial in advice.trials if trial.candidate == advice.choice)
    assert trial.clipped_steps == pytest.approx(2 / 300)


def test_unrest_in_one_dominant_module_gets_a_threshold_for_each_parameter() -> None:
    record = record_of(heavy(), shares=(0.97, 0.02, 0.01))
    advice = make_advice(record, ADAM)
    assert line(advice) == "clipping=rolling_median clipping.by=parameter"
    assert said(advice, "part0 alone makes 97% of the squared norm")
    assert make_advice(record_of(lognormal(), shares=(0.97, 0.03)), ADAM).choice.overrides == {}


def test_the_same_under_sgd_gets_agc_where_there_are_units() -> None:
    ratios = heavy(seed=1) / 100
    record = record_of(heavy(), shares=(0.97, 0.03), unit_ratios=ratios)
    advice = make_advice(record, SGD)
    assert advice.choice.strategy == "agc"
    factor = advice.choice.overrides["max_norm.factor"]
    assert factor == pytest.approx(np.percentile(ratios, 90), rel=5e-3)
    assert make_advice(record, ADAM).choice.strategy == "rolling_median"
    assert make_advice(record_of(heavy(), shares=(0.97, 0.03)), SGD).choice.overrides == {
        "by": "parameter"
    }


def test_weights_that_differ_make_gradients_uneven_where_the_optimizer_does_not_divide() -> None:
    record = record_of(heavy(), shares=(0.3, 0.3, 0.4))
    record.weights[:, :2] *= 1000
    advice = make_advice(record, SGD)
    assert said(advice, "1.15e+03 times as large in one module as in the middle one")
    assert advice.choice.overrides == {"by": "parameter"}
    assert make_advice(record, ADAM).choice.strategy == "global_norm"


def test_a_breakdown_gets_a_fixed_threshold_from_before_it() -> None:
    norms = np.concatenate([lognormal(20, level=2.0), np.geomspace(2, 1e9, 15), [np.nan] * 3])
    advice = make_advice(record_of(norms), SGD)
    calm = np.median(norms[:8])
    assert advice.choice.overrides["max_norm"] == pytest.approx(calm, rel=5e-3)
    assert said(advice, "broke down at step 38", "follow them up")
    assert not said(advice, "training went on")


def test_steps_that_are_not_finite_are_the_guards_business() -> None:
    norms = np.insert(lognormal(), [20, 90], [np.nan, np.inf])
    advice = make_advice(record_of(norms), ADAM)
    assert said(advice, "2 of the steps had no finite norm", "Nothing binds")


def test_norms_that_rise_tenfold_get_the_same() -> None:
    advice = make_advice(record_of(lognormal(150) * np.geomspace(1, 1e6, 150)), SGD)
    assert advice.choice.strategy == "global_norm"
    assert said(advice, "norms rose to")


def test_vanishing_norms_are_told_that_clipping_cannot_help() -> None:
    advice = make_advice(record_of(lognormal(150) * np.geomspace(1, 1e-9, 150)), SGD)
    assert said(advice, "all but vanished", "cannot help")


def test_a_module_that_no_gradient_reaches_is_named() -> None:
    advice = make_advice(record_of(lognormal(), shares=(0.9, 0.1, 0.0)), None)
    assert said(advice, "No gradient in most steps reaches part2")


@pytest.mark.parametrize(
    ("optimizer", "words"),
    [
        (ADAM, "a factor common to all steps cancels"),
        (SGD, "no gradient adds more than"),
        (type("Lion", (torch.optim.SGD,), {})([WEIGHT]), "does not depend on the gradient's"),
        (type("Mine", (torch.optim.AdamW,), {})([WEIGHT]), "Mine divides by the size"),
        (torch.optim.ASGD([WEIGHT]), "step grows with the gradient"),
    ],
)
def test_what_clipping_means_to_the_optimizer(optimizer: torch.optim.Optimizer, words: str) -> None:
    assert words in meaning(optimizer, 0.1)


def test_the_meaning_stands_in_the_notes() -> None:
    advice = make_advice(record_of(heavy()), SGD)
    largest = 0.5 * advice.choice.arguments["value"]
    assert said(advice, f"rate of 0.5 no gradient adds more than {largest:.3g}")
    assert make_advice(record_of(lognormal()), None).notes == ()


def test_too_few_steps() -> None:
    with pytest.raises(ValueError, match="too few steps to advise from: 49 with a finite norm > 0"):
        make_advice(record_of([*lognormal(49), 0.0, np.nan, 0.0]), None)
    with pytest.raises(ValueError, match="broke down at step 4, after 3 steps with a finite norm"):
        make_advice(record_of([*lognormal(3), np.nan]), None)
    assert make_advice(record_of(lognormal(50)), None).reasons
    advice = make_advice(record_of([*lognormal(4), np.nan]), None)
    assert said(advice, "broke down at step 5", "rests on 4 norms")


def test_the_same_record_gets_the_same_advice() -> None:
    one, other = make_advice(record_of(heavy()), SGD), make_advice(record_of(heavy()), SGD)
    assert one == other
    assert one.text() == other.text() == str(one)


def test_shares_are_those_of_the_norms_over_the_threshold() -> None:
    norms = heavy()
    trial = attempt(global_norm(2.0), record_of(norms))
    assert trial.clipped_steps == np.mean(norms > 2.0)
    assert trial.coefficient == pytest.approx(2.0 / norms.max())
