"""Rules by name: every parameter by the first pattern that matches, one report over all."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from gradclip_core import ByName, ClipNorm, Clipper, ClipValue, NoClip, Percentile
from tests.core.copies import COPIES, copied

examples = settings(max_examples=30)


def net(seed: int = 0, scale: float = 1.0, dtype: torch.dtype = torch.float32) -> nn.Module:
    """Three layers whose gradients are drawn from a seed."""
    generator = torch.Generator().manual_seed(seed)
    layers = nn.ModuleDict({name: nn.Linear(3, 2) for name in ("body", "neck", "head")})
    for param in layers.to(dtype).parameters():
        param.grad = (torch.randn(param.shape, generator=generator) * scale).to(dtype)
    return layers


def norm_of(module: nn.Module, p: float = 2.0) -> float:
    flat = torch.cat([param.grad.double().flatten() for param in module.parameters()])
    return torch.linalg.vector_norm(flat, p).item()


@given(
    st.integers(0, 10_000),
    st.sampled_from([1e-2, 1.0, 1e6]),
    st.sampled_from([torch.float32, torch.float64]),
    st.floats(1e-2, 10.0),
    st.floats(1e-2, 10.0),
)
@examples
def test_each_set_is_clipped_as_by_hand(
    seed: int, scale: float, dtype: torch.dtype, value: float, norm: float
) -> None:
    ours, hand = net(seed, scale, dtype), net(seed, scale, dtype)
    rules = {"bias": ClipValue(value), "^head": ClipNorm(norm)}
    report = ByName(rules, otherwise=ClipNorm(2 * norm))(ours)
    nn.utils.clip_grad_value_([layer.bias for layer in hand.values()], value)
    nn.utils.clip_grad_norm_([hand["head"].weight], norm)
    nn.utils.clip_grad_norm_([hand["body"].weight, hand["neck"].weight], 2 * norm)
    for a, b in zip(ours.parameters(), hand.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=2e-4, atol=0)
    assert report.norm.item() == pytest.approx(norm_of(net(seed, scale, dtype)), rel=1e-5)
    assert report.clipped_norm.item() == pytest.approx(norm_of(hand), rel=1e-4)
    assert len(report.stages) == 3


@pytest.mark.parametrize("p", [1.0, 2.0, math.inf])
def test_the_report_covers_all_rules(p: float) -> None:
    model = net()
    before = {name: param.grad.norm(p).item() for name, param in model.named_parameters()}
    report = ByName({"head": ClipNorm(0.1, norm_type=1.0), "body": ClipNorm(100.0)}, norm_type=p)(
        model
    )
    norms = dict(zip(report.names, report.parameter_norms.tolist(), strict=True))
    assert norms == pytest.approx(before)
    assert report.clipped_norm.item() == pytest.approx(norm_of(model, p), rel=1e-5)
    assert (report.clipped.item(), report.threshold.item()) == (True, 0.1)
    assert report.worst_parameter == max(before, key=before.__getitem__)
    assert report.clip_rate.item() == 1.0


def test_parameters_without_a_rule_are_measured_alone() -> None:
    model, kept = net(), net()
    ByName({"head": ClipNorm(0.1)})(model)
    for name in ("body", "neck"):
        assert torch.equal(model[name].weight.grad, kept[name].weight.grad)
    assert model["head"].weight.grad.norm() < 0.1


@pytest.mark.parametrize("place", ["body", "head"])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_step_that_one_rule_skips_is_skipped_for_all(place: str, bad: float) -> None:
    clipper = ByName({"body": ClipNorm(Percentile(50))}, otherwise=ClipNorm(Percentile(50)))
    clipper(net())
    kept = copy.deepcopy(clipper.clippers[1].state_dict())
    model = net()
    model[place].weight.grad[0, 0] = bad
    report = clipper(model)
    assert all(param.grad is None for param in model.parameters())
    assert (report.skipped.item(), report.coefficient.item()) == (True, 1.0)
    assert len(report.stages) == (1 if place == "body" else 2)
    assert clipper.clippers[1].threshold.count.tolist() == kept["threshold.count"].tolist() == [1]
    assert clipper(net(1)).skipped.item() is False


def test_a_rule_that_skips_large_norms_drops_the_step() -> None:
    model = net(scale=100.0)
    before = norm_of(model)
    report = ByName({"head": ClipNorm(1.0, response="skip")})(model)
    assert all(param.grad is None for param in model.parameters())
    assert (report.norm.item(), report.clipped_norm.item()) == (pytest.approx(before), 0.0)
    assert (report.clipped.item(), report.threshold.item()) == (True, 1.0)


def test_the_first_pattern_wins_and_matches_anywhere() -> None:
    model = net(scale=100.0)
    ByName({"ea": ClipNorm(1.0), "weight": ClipNorm(2.0), ".": ClipNorm(3.0)})(model)
    assert norm_of(model["head"]) == pytest.approx(1.0)
    weights = [model[name].weight.grad.norm() for name in ("body", "neck")]
    assert torch.stack(weights).norm().item() == pytest.approx(2.0)


@pytest.mark.parametrize("at", ["attach", "first call"])
@pytest.mark.parametrize(("pattern", "rules"), [("tail", ["tail"]), ("head", ["ea", "head"])])
def test_a_pattern_without_a_parameter_is_an_error(at: str, pattern: str, rules: list[str]) -> None:
    clipper = ByName({name: ClipNorm(1.0) for name in rules})
    with pytest.raises(
        ValueError, match=f"^rules: no parameter is left for the pattern '{pattern}'"
    ):
        clipper.attach(model=net()) if at == "attach" else clipper(net())


def test_after_that_parts_of_the_model_are_taken_as_they_come() -> None:
    model = net(scale=100.0)
    clipper = ByName({"head": ClipNorm(1.0), "body": ClipNorm(2.0)}).attach(model=model)
    report = clipper([("head.weight", model["head"].weight)])
    assert model["head"].weight.grad.norm().item() == pytest.approx(1.0)
    assert (report.clipped.item(), report.parameter_norms.shape) == (True, (1,))


def test_names_are_needed() -> None:
    with pytest.raises(ValueError, match=r"^ByName needs parameter names: pass the model"):
        ByName({"head": ClipNorm(1.0)})(list(net().parameters()))


def test_without_gradients_nothing_is_counted() -> None:
    clipper, model = ByName({"head": ClipNorm(Percentile(50))}), net()
    model.zero_grad()
    report = clipper(model)
    assert (report.norm.item(), report.skipped.item(), report.stages) == (0.0, False, ())
    assert clipper.steps.item() == 0


def test_a_set_without_gradients_does_not_skip_the_others() -> None:
    clipper, model = ByName({"head": ClipNorm(1.0)}, otherwise=ClipNorm(2.0)), net(scale=10.0)
    model["head"].zero_grad()
    report = clipper(model)
    assert report.skipped.item() is False
    assert report.clipped_norm.item() == pytest.approx(2.0)


@pytest.mark.parametrize("kind", COPIES)
def test_a_copy_goes_on_as_the_rules_themselves_do(kind: str) -> None:
    def make() -> ByName:
        return ByName({"bias": ClipValue(Percentile(40))}, otherwise=ClipNorm(Percentile(60)))

    clipper, whole = make(), make()
    expected = [whole(net(seed, 1.0 + seed % 7)).clipped_norm.item() for seed in range(300)]
    for seed in range(150):
        clipper(net(seed, 1.0 + seed % 7))
    other = copied(kind, clipper, make)
    resumed = [other(net(seed, 1.0 + seed % 7)).clipped_norm.item() for seed in range(150, 300)]
    assert resumed == expected[150:]
    torch.testing.assert_close(other.state_dict(), whole.state_dict(), rtol=0, atol=0)


class InStep(Clipper):
    acts_in_step = True


@pytest.mark.parametrize(
    ("rules", "otherwise", "message"),
    [
        ({}, None, "rules must map one or more patterns to clippers, got {}"),
        (["head"], None, "rules must map one or more patterns to clippers, got ['head']"),
        ({"(": NoClip()}, None, "rules must have regular expressions as keys, got '(':"),
        ({3: NoClip()}, None, "rules must have regular expressions as keys, got 3:"),
        ({"head": 1.0}, None, "rules['head'] must be a Clipper, got 1.0"),
        ({"a": NoClip()}, 1.0, "otherwise must be a Clipper, got 1.0"),
        ({"a": InStep()}, None, "rules['a'] must not act inside the optimizer's step, as InStep"),
    ],
)
def test_the_rules_are_checked(rules: Any, otherwise: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError)) as caught:
        ByName(rules, otherwise)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)
