"""Arguments: each wrong one is refused in one line that names it, its value and what is allowed."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable
from typing import Any

import pytest

from gradclip_core import (
    ClipNorm,
    ClipValue,
    Ema,
    Fixed,
    Guard,
    LogZScore,
    Median,
    NoClip,
    NoiseAware,
    Percentile,
    QuantileTracker,
    Rule,
    Scheduled,
    Spam,
    TrailingNorm,
    WindowZScore,
    ZScore,
)

BAD_NUMBERS = [-1.0, 0, 0.0, math.nan, -math.inf, True, False, "1.0", None, 1j, [1.0]]


@pytest.mark.parametrize("bad", BAD_NUMBERS)
@pytest.mark.parametrize(
    ("make", "name"), [(Fixed, "threshold"), (ClipNorm, "max_norm"), (ClipValue, "clip_value")]
)
def test_bounds_are_checked(make: Callable[[Any], Any], name: str, bad: Any) -> None:
    with pytest.raises(ValueError, match=f"^{name} must be a number > 0") as caught:
        make(bad)
    assert str(caught.value).endswith(f"got {bad!r}")


# A percentile between 0 and 1 would be a share: 0.1 for 10.
@pytest.mark.parametrize(
    "bad", [-0.1, 0.1, 0.5, 0.999, 100.1, math.nan, math.inf, True, "10", None]
)
def test_q_is_checked(bad: Any) -> None:
    with pytest.raises(ValueError, match=r"^q must be a percentile: 0, or from 1 to 100") as caught:
        Percentile(bad)
    assert str(caught.value).endswith(f"got {bad!r}")


@pytest.mark.parametrize("q", [0, 1, 1.0, 99.5, 100])
def test_percentiles_are_taken(q: float) -> None:
    assert Percentile(q).q == q


@pytest.mark.parametrize("bad", [0, -3, 2.5, True, "9", None, math.inf])
def test_window_is_checked(bad: Any) -> None:
    with pytest.raises(ValueError, match=r"^window must be an integer >= 1") as caught:
        Percentile(10, bad)
    assert str(caught.value).endswith(f"got {bad!r}")


@pytest.mark.parametrize("bad", ["drop", "", None, 1, True, ["skip"]])
@pytest.mark.parametrize("make", [lambda **kw: ClipNorm(1.0, **kw), NoClip, Guard])
def test_the_policy_is_checked(make: Any, bad: Any) -> None:
    with pytest.raises(ValueError, match=r"^nonfinite must be one of skip, raise, zero, pass") as e:
        make(bad) if make is Guard else make(nonfinite=bad)
    assert str(e.value).endswith(f"got {bad!r}")


@pytest.mark.parametrize("bad", [0, -1, 1.5, True, "3", math.inf])
def test_patience_is_checked(bad: Any) -> None:
    with pytest.raises(ValueError, match=r"^patience must be an integer >= 1 or None") as caught:
        Guard("skip", bad)
    assert str(caught.value).endswith(f"got {bad!r}")


BAD_ARGUMENTS: list[tuple[str, Any]] = [
    *[("norm_type", v) for v in (0, -1, -math.inf, math.nan, True, "2", None)],
    *[("by", v) for v in ("layer", "", None, 3, True, {}, ["model"])],
    *[("eps", v) for v in (-1e-9, math.inf, math.nan, True, "0", None)],
]


@pytest.mark.parametrize(("name", "bad"), BAD_ARGUMENTS)
def test_arguments_are_checked(name: str, bad: Any) -> None:
    with pytest.raises(ValueError, match=f"^{name} must ") as caught:
        ClipNorm(1.0, **{name: bad})
    assert "\n" not in str(caught.value)
    assert repr(bad) in str(caught.value) or bad == {}


@pytest.mark.parametrize("pattern", ["(", 3, None])
def test_patterns_are_checked(pattern: Any) -> None:
    with pytest.raises(ValueError, match=r"^by\['head'\] must be a regular expression") as caught:
        ClipValue(1.0, by={"head": pattern})
    assert "\n" not in str(caught.value)


def test_no_clip_takes_the_same_checks() -> None:
    with pytest.raises(ValueError, match=r"^norm_type must be a number > 0 or inf, got -2$"):
        NoClip(norm_type=-2)


def scheduled(**arguments: Any) -> Scheduled:
    return Scheduled(1.0, **arguments)


FINITE = "a finite number > 0", [0, -1.0, math.nan, math.inf, True, "2", None]
DECAY = "a number >= 0 and < 1", [1.0, -0.1, math.nan, math.inf, True, "0.9", None]
INTEGER = "an integer >= 1", [0, -3, 2.5, True, "9", math.inf]
FROM_0 = "an integer >= 0", [-1, 0.5, True, "9", None, math.inf]
FROM_2 = "an integer >= 2", [1, 2.5, True, "9", None]
POSITIVE = "a number > 0", [0, -1.0, math.nan, True, "2"]
LEARNT: list[tuple[Any, str, tuple[str, list[Any]]]] = [
    *[(Ema, "factor", FINITE), (Ema, "decay", DECAY)],
    (Ema, "deviations", ("a finite number >= 0", [-0.1, math.nan, math.inf, True, "1", None])),
    (Ema, "entry_cap", ("a number > 1 / factor", [0.6, -1, math.nan, True, "1", None])),
    *[
        (LogZScore, "deviations", FINITE),
        (LogZScore, "decay", DECAY),
        (LogZScore, "warmup_steps", INTEGER),
    ],
    *[(ZScore, "deviations", FINITE), (ZScore, "decay", DECAY), (ZScore, "factor", FINITE)],
    *[
        (ZScore, "warmup_steps", INTEGER),
        (ZScore, "max_spikes", INTEGER),
        (ZScore, "cap", POSITIVE),
    ],
    (ZScore, "mode", ("one of adaptive_scaling, mean, percentile", ["median", "", None, 1])),
    (ZScore, "skip_update_on_spike", ("True or False", [1, None, "yes"])),
    *[(Median, "factor", FINITE), (Median, "window", INTEGER)],
    *[(WindowZScore, "deviations", FINITE), (WindowZScore, "window", FROM_2)],
    *[
        (WindowZScore, "warmup_steps", FROM_2),
        (WindowZScore, "warmup_steps", ("at most window = 128", [129])),
    ],
    (TrailingNorm, "factor", ("a finite number > 1", [1, math.inf, math.nan, True, "2", None])),
    *[(TrailingNorm, "decay", DECAY), (TrailingNorm, "warmup_steps", INTEGER)],
    (TrailingNorm, "absolute", POSITIVE),
    (TrailingNorm, "floor", ("from 0 to 1", [-0.1, 1.1, math.nan, True, "0", None])),
    (
        QuantileTracker,
        "quantile",
        ("a share > 0 and < 1", [0, 1, 50, math.nan, True, "0.5", None]),
    ),
    (QuantileTracker, "rate", ("a number > 0 and <= 1", [0, 1.1, math.nan, True, "0.5", None])),
    (QuantileTracker, "initial", ("a finite number > 0", [0, -1, math.inf, math.nan, True, "1"])),
    *[(scheduled, "start", FINITE), (scheduled, "end", FINITE)],
    *[(scheduled, "warmup_steps", FROM_0), (scheduled, "decay_steps", FROM_0)],
    (scheduled, "shape", ("one of cosine, linear", ["step", "", None, 0])),
    (Scheduled, "threshold", ("a number > 0 or a Threshold", BAD_NUMBERS)),
]


@pytest.mark.parametrize(
    ("make", "name", "allowed", "bad"),
    [(make, name, allowed, bad) for make, name, (allowed, values) in LEARNT for bad in values],
)
def test_the_settings_of_learnt_thresholds_are_checked(
    make: Any, name: str, allowed: str, bad: Any
) -> None:
    with pytest.raises(ValueError, match=f"^{name} must be {allowed}") as caught:
        make(**{name: bad})
    assert str(caught.value).endswith(f"got {bad!r}")
    assert "\n" not in str(caught.value)


FORMER = [
    *[(kind, "z", "deviations") for kind in (ZScore, LogZScore, WindowZScore, NoiseAware)],
    *[(kind, "warmup", "warmup_steps") for kind in (ZScore, LogZScore, NoiseAware, TrailingNorm)],
    (WindowZScore, "least", "warmup_steps"),
    (ZScore, "patience", "max_spikes"),
    (TrailingNorm, "relative", "factor"),
    (Spam, "grace", "warmup_steps"),
    (Spam, "warmup", "lr_warmup_steps"),
]


@pytest.mark.parametrize(("kind", "former", "present"), FORMER)
def test_a_former_name_is_answered_with_the_present_one(
    kind: Any, former: str, present: str
) -> None:
    assert present in inspect.signature(kind).parameters
    said = f"{kind.__name__} has no argument '{former}': it is called '{present}' now"
    with pytest.raises(TypeError, match=f"^{re.escape(said)}$"):
        kind(**{former: 3})
    with pytest.raises(TypeError, match="unexpected keyword argument 'nothing'"):
        kind(nothing=3)


@pytest.mark.parametrize(
    ("base", "former", "present"),
    [
        (ClipNorm, "acts_below", "changes_below_threshold"),
        (Rule, "acts", "modifies_gradients"),
        (ClipValue, "acts", "modifies_gradients"),
    ],
)
def test_a_class_that_means_a_former_attribute_is_told_so(
    base: type, former: str, present: str
) -> None:
    said = f"Mine.{former} has no meaning: it is {present} now"
    with pytest.raises(TypeError, match=f"^{re.escape(said)}$"):
        type("Mine", (base,), {former: True})
