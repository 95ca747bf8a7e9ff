"""The state of a parameter or part follows it, whatever stands beside it in a later step."""

from __future__ import annotations

import copy
import itertools
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from gradclip_core import (
    ACClip,
    ByName,
    Chain,
    ClipNorm,
    ClippedEma,
    Clipper,
    ClipUpdate,
    ClipValue,
    Ema,
    LogZScore,
    Median,
    NoiseAware,
    Percentile,
    PowerClip,
    QuantileTracker,
    Scheduled,
    StableSpam,
    TrailingNorm,
    UClip,
    WindowZScore,
    ZScore,
)

Make = Callable[[str], Clipper]
THRESHOLDS: dict[str, Callable[[], Any]] = {
    "autoclip": lambda: Percentile(10, window=5),
    "median": lambda: Median(1.1, window=5),
    "ema": lambda: Ema(1.1),
    "clipped ema": lambda: ClippedEma(1.1),
    "z": lambda: ZScore(1.0, warmup_steps=2),
    "log z": lambda: LogZScore(1.0, warmup_steps=2),
    "window z": lambda: WindowZScore(1.0, window=6, warmup_steps=2),
    "adagc": lambda: TrailingNorm(warmup_steps=2),
    "tracker": QuantileTracker,
    "noise": lambda: NoiseAware(1.1, warmup_steps=2),
    "scheduled": lambda: Scheduled(Median(1.1, window=5)),
}
RULES: dict[str, Make] = {
    **{
        name: lambda by, make=make: ClipNorm(make(), by=by)  # type: ignore[misc]
        for name, make in THRESHOLDS.items()
    },
    "elements": lambda by: ClipValue(Median(1.1), by=by),
    "power": lambda by: PowerClip(Median(1.1), by=by),
    "acclip": lambda by: ACClip(),
    "stable spam": lambda by: StableSpam(reset_every=None),
    "u-clip": lambda by: UClip(ClipNorm(0.3, by=by)),
    "chain": lambda by: Chain([ClipNorm(Median(1.1), by=by), UClip(ClipValue(0.5))]),
    "by name": lambda by: ByName({"weight|bias": ClipNorm(Median(1.1), by=by)}),
}
LAYERS = "abcd"


def net() -> nn.ModuleDict:
    return nn.ModuleDict({name: nn.Linear(3, 2) for name in LAYERS})


def step(clipper: Clipper, layers: nn.ModuleDict, names: str, number: int) -> dict[str, Tensor]:
    """Clip some of the layers, in this order; the gradient of each depends on layer and step."""
    named = []
    for layer in names:
        for name, param in layers[layer].named_parameters():
            generator = torch.Generator().manual_seed(1000 * number + ord(layer))
            size = 10.0 ** LAYERS.index(layer)
            param.grad = torch.randn(param.shape, generator=generator) * size
            named.append((f"{layer}.{name}", param))
    clipper(named)
    return {name: param.grad.clone() for name, param in named if param.grad is not None}


def alone(make: Make, by: str, plan: list[str], layer: str) -> list[dict[str, Tensor]]:
    """What becomes of a layer that never had another beside it."""
    clipper, layers = make(by), net()
    return [step(clipper, layers, layer, i) for i, names in enumerate(plan) if layer in names]


def through_bytes(clipper: Clipper, fresh: Clipper) -> Clipper:
    fresh.load_state_dict(pickle.loads(pickle.dumps(dict(clipper.state_dict()))))
    return fresh


def check(rule: str, by: str, plan: list[str], resume: int | None = None) -> None:
    """Each layer fares in a plan as it would alone."""
    make = RULES[rule]
    clipper, layers, found = make(by), net(), []
    for i, names in enumerate(plan):
        if i == resume:
            clipper = through_bytes(clipper, make(by))
        found.append(step(clipper, layers, names, i))
    for layer in sorted(set("".join(plan))):
        steps = [grads for grads in found if f"{layer}.weight" in grads]
        for grads, wanted in zip(steps, alone(make, by, plan, layer), strict=True):
            for name, grad in wanted.items():
                torch.testing.assert_close(grads[name], grad, rtol=1e-5, atol=0)


# A rule whose parts know nothing of each other, so that a layer fares as it would alone.
ALONE = [rule for rule in RULES if rule not in ("adagc", "u-clip", "chain")]
PLANS = {
    "another order": ["abc"] * 6 + ["cab"] * 3,
    "one frozen, one more": ["ab"] * 6 + ["bc"] * 4,
    "progressive": ["d"] * 5 + ["cd"] * 4 + ["abcd"] * 3,
    "one less": ["abc"] * 6 + ["ac"] * 3,
    "away and back": ["ab"] * 6 + ["b"] * 3 + ["ab"] * 3,
    "all others": ["a"] * 5 + ["b"] * 4 + ["a"] * 3,
}


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("by", ["parameter", pytest.param("row", marks=pytest.mark.slow), "module"])
@pytest.mark.parametrize("rule", ALONE)
def test_a_layer_fares_as_it_would_alone(rule: str, by: str, plan: str) -> None:
    if by == "module" and plan in ("progressive", "all others", "away and back"):
        pytest.skip("modules of one layer alone are its weight and its bias")
    check(rule, by, PLANS[plan], resume=None)


@pytest.mark.parametrize("resume", [6])
@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("rule", ALONE)
def test_and_through_a_resume(rule: str, plan: str, resume: int) -> None:
    check(rule, "parameter", PLANS[plan], resume)


@given(
    st.sampled_from(["median", "noise", "acclip", "autoclip"]),
    st.lists(st.permutations(LAYERS).map("".join), min_size=2, max_size=8),
    st.lists(st.integers(1, 4), min_size=8, max_size=8),
    st.integers(0, 8),
)
@settings(max_examples=30, deadline=None)
def test_in_any_plan(rule: str, orders: list[str], numbers: list[int], resume: int) -> None:
    plan = [order[:n] for order, n in zip(orders, numbers, strict=False)]
    check(rule, "parameter", plan, resume)


def one(param: nn.Parameter, size: float) -> nn.Parameter:
    param.grad = torch.full_like(param, size)
    return param


def test_without_names_it_is_the_same_parameter_that_counts() -> None:
    a, b, z = (nn.Parameter(torch.zeros(1)) for _ in range(3))
    clipper = ClipNorm(Median(2.0), by="parameter", eps=0)
    for _ in range(5):
        clipper([one(a, 1.0), one(b, 100.0)])
    assert clipper([one(b, 100.0), one(z, 7.0)]).thresholds.tolist() == [200.0, torch.inf]
    assert clipper([one(z, 7.0), one(a, 1.0)]).thresholds.tolist() == [14.0, 2.0]


def test_without_names_it_is_the_position_where_all_are_new() -> None:
    clipper = ClipNorm(Median(2.0), by="parameter", eps=0)
    for _ in range(3):
        params = [one(nn.Parameter(torch.zeros(1)), size) for size in (1.0, 100.0)]
        report = clipper(params)
    assert report.thresholds.tolist() == [2.0, 200.0]


@pytest.mark.parametrize("rule", RULES)
def test_a_state_is_of_plain_tensors_and_one_without_names_loads_by_position(
    rule: str, tmp_path: Any
) -> None:
    clipper, layers = RULES[rule]("parameter"), net()
    for i in range(5):
        step(clipper, layers, "abc", i)
    torch.save(clipper.state_dict(), tmp_path / "state.pt")
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    assert all(isinstance(v, Tensor) for k, v in state.items() if "_extra_state" not in k)
    older = {k: v for k, v in state.items() if k.rpartition(".")[2] not in ("parts", "places")}
    assert len(older) < len(state)
    fresh = RULES[rule]("parameter")
    fresh.load_state_dict(older)
    for name, grad in step(copy.deepcopy(clipper), layers, "abc", 5).items():
        torch.testing.assert_close(step(copy.deepcopy(fresh), layers, "abc", 5)[name], grad)


@pytest.mark.parametrize(("kept", "given"), list(itertools.permutations(["row", "parameter"])))
def test_a_state_of_other_parts_is_refused_whole(kept: str, given: str) -> None:
    clipper, fresh, layers = RULES["median"](kept), RULES["median"](given), net()
    step(clipper, layers, "ab", 0)
    before = {name: value.clone() for name, value in fresh.state_dict().items()}
    with pytest.raises(ValueError, match=f"were made by '{kept}', and are by '{given}' here"):
        fresh.load_state_dict(clipper.state_dict())
    assert all(torch.equal(value, before[name]) for name, value in fresh.state_dict().items())


def test_an_older_state_of_other_parameters_is_refused() -> None:
    clipper, layers = RULES["median"]("parameter"), net()
    step(clipper, layers, "ab", 0)
    older = {k: v for k, v in clipper.state_dict().items() if not k.endswith("parts")}
    fresh = RULES["median"]("parameter")
    fresh.load_state_dict(older)
    with pytest.raises(ValueError, match="history of 4 parts, which had no names, and was given 6"):
        step(fresh, layers, "abc", 1)


def test_mappings_are_known_by_their_names_and_not_by_who_comes_first() -> None:
    by = {"small": "^a", "large": "^b"}
    clipper, layers = ClipNorm(Median(2.0), by=by, eps=0), net()
    for i in range(5):
        step(clipper, layers, "abd", i)
    kept = [clipper.last_report.thresholds[k].item() for k in range(3)]  # type: ignore[union-attr]
    step(copy.deepcopy(clipper), layers, "bda", 5)
    later = ClipNorm(Median(2.0), by=by, eps=0)
    later.load_state_dict(clipper.state_dict())
    step(later, layers, "dba", 5)
    found = later.last_report.thresholds.tolist()  # type: ignore[union-attr]
    # A median moves by little in one step; the parts differ by factors of ten.
    assert [
        round(torch.tensor(f / k).log10().item()) for f, k in zip(found, kept[::-1], strict=True)
    ] == [0] * 3


def test_updates_follow_their_parameters_too() -> None:
    layers = net()
    optimizer = torch.optim.SGD(layers.named_parameters(), lr=1.0)
    clipper = ClipUpdate(Median(2.0), by="parameter").attach(optimizer=optimizer)
    for names in ("ab", "ab", "bc"):
        for param in layers.parameters():
            param.grad = None
        given = [(f"{n}.weight", one(layers[n].weight, 10.0 ** LAYERS.index(n))) for n in names]
        clipper(given)
        optimizer.step()
    report = clipper.last_report
    assert report is not None
    assert report.norms[0] * 2 == pytest.approx(report.thresholds[0].item(), rel=1e-4)
    assert report.thresholds[1] == torch.inf
