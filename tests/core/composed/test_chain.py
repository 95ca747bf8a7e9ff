"""Chains: each clipper works on what the one before left, and one report covers all of them."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from gradclip_core import (
    ByName,
    Chain,
    ClipNorm,
    Clipper,
    ClipReport,
    ClipValue,
    Fixed,
    Median,
    NoClip,
    NonFiniteGradientError,
    Percentile,
    Relative,
    Spam,
    UClip,
    chain,
)

Holding = Callable[..., list[nn.Parameter]]
shapes = st.lists(st.lists(st.integers(1, 5), max_size=3), min_size=1, max_size=4)


def random_grads(seed: int, shape_list: Any, scale: float, dtype: Any) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [(torch.randn(s, generator=generator) * scale).to(dtype) for s in shape_list]


def norm_of(params: list[nn.Parameter], p: float = 2.0) -> float:
    flat = torch.cat([param.grad.double().flatten() for param in params])
    return torch.linalg.vector_norm(flat, p).item()


cases = given(
    seed=st.integers(0, 10_000),
    shape=shapes,
    scale=st.sampled_from([1e-2, 1.0, 1e6]),
    value=st.floats(1e-2, 10.0),
    norm=st.floats(1e-2, 10.0),
)


@cases
@settings(max_examples=40)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_value_then_norm_equals_torch(
    holding: Holding, dtype: Any, seed: int, shape: Any, scale: float, value: float, norm: float
) -> None:
    grads = random_grads(seed, shape, scale, dtype)
    ours, theirs = holding(*grads), holding(*grads)
    report = chain(ClipValue(value), ClipNorm(norm))(ours)
    nn.utils.clip_grad_value_(theirs, value)
    nn.utils.clip_grad_norm_(theirs, norm)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=2e-4, atol=0)
    before = torch.cat([grad.double().flatten() for grad in grads]).norm().item()
    assert report.norm.item() == pytest.approx(before, rel=1e-5)
    assert report.clipped_norm.item() == pytest.approx(norm_of(ours), rel=1e-4)


@cases
@settings(max_examples=5)
def test_value_then_norm_equals_optax_chain(
    holding: Holding, seed: int, shape: Any, scale: float, value: float, norm: float
) -> None:
    optax = pytest.importorskip("optax", reason="optax is not installed")
    grads = random_grads(seed, shape, scale, torch.float32)
    params = holding(*grads)
    chain(ClipValue(value), ClipNorm(norm, eps=0))(params)
    transform = optax.chain(optax.clip(value), optax.clip_by_global_norm(norm))
    arrays = [grad.numpy() for grad in grads]
    updates, _ = transform.update(arrays, transform.init(arrays))
    for param, update in zip(params, updates, strict=True):
        np.testing.assert_allclose(param.grad.numpy(), update, rtol=2e-5, atol=0)


STAGES: dict[str, Callable[[], Clipper]] = {
    "value": lambda: ClipValue(1.0),
    "rms": lambda: ClipNorm(0.5, by="parameter", measure="rms"),
    "largest": lambda: ClipNorm(2.0, norm_type=math.inf),
    "some": lambda: ClipNorm(1.0, min_ndim=2),
    "whole": lambda: ClipNorm(3.0),
    "rows": lambda: ClipNorm(Relative(0.1), by="row"),
    "chain": lambda: chain(ClipValue(2.0), ClipNorm(1.0)),
}


@pytest.mark.parametrize("first", STAGES)
@pytest.mark.parametrize("last", STAGES)
@pytest.mark.parametrize("p", [1.0, 2.0, math.inf])
def test_the_report_is_of_the_whole_gradient_whatever_the_stages_measure(
    holding: Holding, first: str, last: str, p: float
) -> None:
    params = holding(*random_grads(0, [[3, 4], [5]], 3.0, torch.float64))
    before = norm_of(params, p)
    each = [torch.linalg.vector_norm(param.grad, p).item() for param in params]
    report = Chain([STAGES[first](), STAGES[last]()], norm_type=p)(params)
    assert report.norm.item() == pytest.approx(before)
    assert report.parameter_norms.tolist() == pytest.approx(each)
    assert report.clipped_norm.item() == pytest.approx(norm_of(params, p), rel=1e-5)
    assert report.coefficient.item() == pytest.approx(norm_of(params, p) / before, rel=1e-5)
    assert report.norm_type == p
    assert len(report.stages) == 2


def test_a_stage_that_measures_something_else_does_not_pass_for_the_gradient(
    holding: Holding,
) -> None:
    params = holding(torch.tensor([3.0, -4.0]))
    optimizer = torch.optim.Adam(params)
    optimizer.step()  # Spam measures |g| beside the second moment, and has one from here on
    spam_then_norm = Chain([Spam(), ClipNorm(1.0, norm_type=math.inf)], norm_type=math.inf)
    report = spam_then_norm.attach(optimizer=optimizer)(params)
    assert report.norm.item() == 4.0
    assert report.clipped_norm.item() == pytest.approx(1.0, rel=1e-5)


def test_the_threshold_is_that_of_the_stage_that_shrank_most(holding: Holding) -> None:
    report = chain(ClipNorm(8.0, eps=0), ClipNorm(2.0, eps=0), ClipNorm(5.0))(
        holding(torch.tensor([10.0]))
    )
    assert [stage.coefficient.item() for stage in report.stages] == [0.8, 0.25, 1.0]
    assert report.threshold.item() == 2.0
    assert (report.norm.item(), report.clipped_norm.item()) == (10.0, 2.0)
    assert report.as_dict()["worst_parameter"] == "parameter 0"


def test_a_step_counts_as_clipped_if_any_stage_clipped(holding: Holding) -> None:
    clipper = chain(ClipNorm(5.0), ClipValue(3.0))
    clipped = [clipper(holding(torch.tensor([g]))).clipped.item() for g in (1.0, 4.0, 9.0, 2.0)]
    assert clipped == [False, True, True, False]
    assert clipper.last_report.clip_rate.item() == 0.5


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_skipped_step_leaves_the_later_stages_as_they_were(holding: Holding, bad: float) -> None:
    clipper = chain(NoClip(nonfinite="skip"), ClipNorm(Percentile(50)), ClipNorm(1.0))
    clipper(holding(torch.tensor([3.0])))
    kept = copy.deepcopy([stage.state_dict() for stage in clipper.clippers[1:]])
    (param,) = holding(torch.tensor([bad]))
    report = clipper(param)
    assert param.grad is None
    assert (report.skipped.item(), report.clipped.item(), len(report.stages)) == (True, False, 1)
    left = [stage.state_dict() for stage in clipper.clippers[1:]]
    torch.testing.assert_close(left, kept, rtol=0, atol=0)
    assert (clipper.steps.item(), clipper.last_report.coefficient.item()) == (2, 1.0)


def test_a_step_that_a_rule_skips_leaves_nothing(holding: Holding) -> None:
    clipper = chain(ClipNorm(10.0, response="skip"), ClipNorm(1.0))
    (param,) = holding(torch.tensor([30.0]))
    report = clipper(param)
    assert param.grad is None
    assert (report.norm.item(), report.clipped_norm.item()) == (30.0, 0.0)
    assert (report.coefficient.item(), report.threshold.item()) == (0.0, 10.0)
    assert (report.clipped.item(), report.skipped.item()) == (True, True)


def test_other_policies_hold_in_a_chain(holding: Holding) -> None:
    (param,) = holding(torch.tensor([math.nan, 4.0]))
    report = chain(NoClip(nonfinite="zero"), ClipNorm(2.0, eps=0))(param)
    assert (param.grad.tolist(), report.norm.item()) == ([0.0, 2.0], 4.0)
    with pytest.raises(NonFiniteGradientError, match="non-finite gradient in parameter 0"):
        chain(ClipNorm(1.0, nonfinite="raise"), ClipNorm(1.0))(holding(torch.tensor([math.inf])))


@pytest.mark.parametrize("given", ["module", "iterator", "optimizer", "groups"])
def test_parameters_in_any_form_reach_every_stage(given: str) -> None:
    net = nn.Linear(2, 2)
    net(torch.full((1, 2), 9.0)).sum().backward()
    forms: dict[str, Any] = {
        "module": net,
        "iterator": iter(net.named_parameters()),
        "optimizer": torch.optim.SGD(net.parameters(), 1.0),
        "groups": [{"params": [p]} for p in net.parameters()],
    }
    report = chain(ClipNorm(5.0, by="group"), ClipNorm(2.0, eps=0))(forms[given])
    assert norm_of(list(net.parameters())) == pytest.approx(2.0)
    assert len(report.stages[0].norms) == (2 if given == "groups" else 1)
    names = ["weight", "bias"] if given in ("module", "iterator") else [None, None]
    assert report.names == names


def test_without_gradients_no_stage_is_called(holding: Holding) -> None:
    clipper = chain(ClipNorm(Percentile(50)), ClipNorm(1.0))
    report = clipper(nn.Linear(2, 2))
    assert (report.norm.item(), report.stages) == (0.0, ())
    assert (clipper.steps.item(), clipper.clippers[0].steps.item()) == (0, 0)


class HalvesInStep(Clipper):
    """Acts inside the optimizer's step: its report is complete only after it."""

    acts_in_step = True

    def attach(self, *, model: Any = None, optimizer: Any = None) -> Any:
        self.detach()
        self._handles.append(optimizer.register_step_post_hook(self._after))
        return self

    def forward(self, parameters: Any, *, loss: Tensor | None = None) -> ClipReport:
        self.calls = getattr(self, "calls", 0) + 1
        self.last_report = NoClip()(parameters)
        return self.last_report

    def _after(self, optimizer: Any, *_: Any) -> None:
        params = [p for group in optimizer.param_groups for p in group["params"]]
        self.last_report = ClipNorm(1e-9)(params)


def test_sparse_gradients_pass_through_a_chain() -> None:
    embedding = nn.Embedding(4, 2, sparse=True)
    embedding(torch.tensor([1, 1, 3])).sum().backward()
    report = chain(ClipValue(1.5), ClipNorm(2.0, eps=0))(embedding)
    left = embedding.weight.grad.to_dense()
    assert left.norm().item() == pytest.approx(2.0)
    assert report.clipped_norm.item() == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ([], "clippers must be a list of one or more clippers, got []"),
        (None, "clippers must be a list of one or more clippers, got None"),
        ([ClipNorm(1.0), 3.0], "clippers[1] must be a Clipper, got 3.0"),
        (["x", ClipNorm(1.0)], "clippers[0] must be a Clipper, got 'x'"),
        (
            [HalvesInStep(), ClipNorm(1.0)],
            "clippers[0] must not act inside the optimizer's step, as HalvesInStep does",
        ),
    ],
)
def test_the_clippers_are_checked(bad: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError)) as caught:
        Chain(bad)
    assert str(caught.value) == message


def test_two_stages_are_two_clippers_with_thresholds_of_their_own() -> None:
    clipper, threshold = ClipNorm(1.0), Median(2.0)
    with pytest.raises(ValueError, match=r"^clippers 0 and 2 are made of one ClipNorm, whose"):
        chain(clipper, ClipValue(1.0), clipper)
    with pytest.raises(ValueError, match=r"^clippers 0 and 1 are made of one ClipNorm, whose"):
        chain(UClip(clipper), clipper)
    with pytest.raises(ValueError, match=r"^clippers 0 and 1 are made of one ClipNorm, whose"):
        ByName({"a": clipper, "b": clipper})
    first = ClipNorm(threshold)
    with pytest.warns(UserWarning, match=r"^this Median is the threshold of another ClipNorm"):
        second = ClipNorm(threshold, by="parameter")
    with pytest.raises(ValueError, match=r"^clippers 0 and 1 are made of one Median, whose"):
        chain(first, second)
    bound = Fixed(1.0)
    chain(ClipNorm(bound), ClipValue(bound))  # which has no state
