"""The report tells what happened, costs no host read and keeps nothing alive."""

from __future__ import annotations

import gc
import math
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gradclip_core import (
    Chain,
    ClipNorm,
    Clipper,
    ClipReport,
    ClipValue,
    NoClip,
    Percentile,
    Relative,
)
from gradclip_core.report import SCALARS

Holding = Callable[..., list[nn.Parameter]]


def values(report: ClipReport) -> dict[str, Any]:
    return {name: getattr(report, name).item() for name in SCALARS}


def test_a_clipped_step(holding: Holding) -> None:
    params = holding(torch.tensor([3.0, 4.0]), torch.tensor([12.0]))
    report = ClipNorm(6.5, eps=0)(params)
    assert values(report) == {
        "norm": 13.0,
        "clipped_norm": 6.5,
        "coefficient": 0.5,
        "threshold": 6.5,
        "clipped": True,
        "clipped_share": 1.0,
        "skipped": False,
        "clip_rate": 1.0,
    }
    assert report.parameter_norms.tolist() == [5.0, 12.0]


def test_a_step_below_the_threshold(holding: Holding) -> None:
    report = ClipNorm(6.0)(holding(torch.tensor([3.0, 4.0])))
    assert values(report) == {
        "norm": 5.0,
        "clipped_norm": 5.0,
        "coefficient": 1.0,
        "threshold": 6.0,
        "clipped": False,
        "clipped_share": 0.0,
        "skipped": False,
        "clip_rate": 0.0,
    }


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_skipped_step(holding: Holding, bad: float) -> None:
    clipper = ClipNorm(1.0)
    clipper(holding(torch.tensor([2.0])))
    row = values(clipper(holding(torch.tensor([bad, 1.0]))))
    assert str(row.pop("norm")) == str(row.pop("clipped_norm")) == str(bad)
    assert row == {
        "coefficient": 1.0,
        "threshold": math.inf,
        "clipped": False,
        "clipped_share": 0.0,
        "skipped": True,
        "clip_rate": 0.5,
    }


def test_a_step_clipped_in_parts_tells_of_the_part_that_shrank_most(holding: Holding) -> None:
    clipper = ClipNorm(Percentile(0.0), by="parameter", eps=0)
    clipper(holding(*[torch.tensor([norm]) for norm in (1.0, 2.0, 8.0, 1.0)]))
    report = clipper(holding(*[torch.tensor([norm]) for norm in (2.0, 8.0, 4.0, 2.0)]))
    assert report.clipped_norms.tolist() == [1.0, 2.0, 4.0, 1.0]
    assert report.thresholds.tolist() == [1.0, 2.0, 4.0, 1.0]
    assert (report.coefficient.item(), report.threshold.item()) == (0.25, 2.0)
    assert report.clipped_share.item() == 0.75
    assert report.norm.item() == pytest.approx(88**0.5)
    assert report.clipped_norm.item() == pytest.approx(22**0.5)


@pytest.mark.parametrize("p", [1.0, 2.0, 3.0, math.inf])
@pytest.mark.parametrize("by", ["model", "parameter"])
def test_the_norm_after_is_that_of_the_gradients_left(holding: Holding, p: float, by: str) -> None:
    params = holding(torch.tensor([3.0, -4.0]), torch.tensor([12.0]), torch.tensor([0.5]))
    report = ClipNorm(2.0, by=by, norm_type=p)(params)
    left = torch.cat([param.grad for param in params])
    assert report.clipped_norm.item() == pytest.approx(torch.linalg.vector_norm(left, p).item())


def test_clipping_by_value_reports_the_largest_magnitude(holding: Holding) -> None:
    report = ClipValue(2.0)(holding(torch.tensor([3.0, -8.0])))
    assert (report.norm.item(), report.clipped_norm.item()) == (8.0, 2.0)
    assert report.coefficient.item() == 0.25


def test_clipping_by_value_in_parts_keeps_the_norms_below_the_bound(holding: Holding) -> None:
    params = holding(torch.tensor([3.0]), torch.tensor([8.0]))
    report = ClipValue(4.0, by="parameter")(params)
    assert report.clipped_norms.tolist() == [3.0, 4.0]
    assert report.clipped_share.item() == 0.5


def test_the_baseline_makes_the_same_report_and_changes_nothing(holding: Holding) -> None:
    (param,) = holding(torch.tensor([3.0, 4.0]))
    row = NoClip()(param).as_dict()
    assert param.grad.tolist() == [3.0, 4.0]
    assert row.keys() == ClipNorm(1.0)(param).as_dict().keys()
    assert (row["norm"], row["clipped"], row["threshold"]) == (5.0, False, math.inf)


def test_the_clip_rate_runs_over_steps_with_gradients(holding: Holding) -> None:
    clipper = ClipNorm(1.0)
    rates = []
    for norm in (2.0, 0.5, 0.0, 3.0):
        rates.append(clipper(holding(torch.tensor([norm]))).clip_rate.item())
        clipper([nn.Parameter(torch.zeros(1))])
    assert rates == pytest.approx([1, 1 / 2, 1 / 3, 2 / 4])


def test_the_worst_parameter_is_named(holding: Holding) -> None:
    first, second, third = holding(torch.ones(1), -3 * torch.ones(1), 2 * torch.ones(1))
    named = [("a", first), ("b", second), ("c", third)]
    assert ClipNorm(1.0)(named).worst_parameter == "b"
    assert ClipNorm(1.0)([first, second]).worst_parameter == "parameter 1"
    with pytest.warns(UserWarning, match="^there are no parameters"):
        assert ClipNorm(1.0)([]).worst_parameter is None


def test_a_nan_is_worse_than_anything(holding: Holding) -> None:
    params = holding(torch.tensor([math.inf]), torch.tensor([math.nan]), torch.ones(1))
    report = ClipNorm(1.0)(list(zip("abc", params, strict=True)))
    assert report.worst_parameter == "b"


def test_metrics_are_float32_scalars_under_the_prefix(holding: Holding) -> None:
    metrics = ClipNorm(1.0, eps=0)(holding(torch.tensor([4.0]))).metrics("g/")
    assert set(metrics) == {f"g/{name}" for name in SCALARS}
    assert {(value.dtype, value.ndim) for value in metrics.values()} == {(torch.float32, 0)}
    assert metrics["g/coefficient"].item() == 0.25


def test_as_dict_holds_plain_values_and_repr_prints_them(holding: Holding) -> None:
    report = ClipNorm(1.0, eps=0)([("w", holding(torch.tensor([4.0]))[0])])
    assert {type(value) for value in report.as_dict().values()} == {float, bool, str}
    assert repr(report) == (
        "ClipReport(norm=4, clipped_norm=1, coefficient=0.25, threshold=1, clipped=True, "
        "clipped_share=1, skipped=False, clip_rate=1, worst_parameter='w', path='in place')"
    )


@pytest.mark.parametrize("parameters", [[], nn.Linear(1, 1)])
@pytest.mark.filterwarnings("ignore:there are no parameters")
def test_a_report_without_gradients_prints(parameters: Any) -> None:
    assert "norm=0, clipped_norm=0, coefficient=1" in repr(ClipNorm(1.0)(parameters))


@pytest.mark.parametrize("by", ["model", "parameter"])
def test_reports_and_clippers_keep_no_gradient_alive(holding: Holding, by: str) -> None:
    (param,) = holding(torch.full((1000,), 3.0))
    clipper = ClipNorm(Percentile(0.0), by=by)
    reports = [clipper(param), clipper(param)]
    grad, weight = weakref.ref(param.grad), weakref.ref(param)
    param.grad = None
    del param
    gc.collect()
    assert (grad(), weight()) == (None, None)
    assert len(reports) == 2


def test_a_later_step_does_not_change_an_earlier_report(holding: Holding) -> None:
    clipper = ClipNorm(Percentile(10.0), by="parameter")
    first = clipper(holding(torch.tensor([4.0]), torch.tensor([2.0])))
    before = first.as_dict()
    for norm in (1.0, 9.0):
        clipper(holding(torch.tensor([norm]), torch.tensor([norm])))
    assert first.as_dict() == before


ASYNCHRONOUS: dict[str, Callable[[Any], Clipper]] = {
    "norm": lambda policy: ClipNorm(1.0, nonfinite=policy),
    "norm of parts": lambda policy: ClipNorm(1.0, by={"first": "^a"}, nonfinite=policy),
    "norm of order 20": lambda policy: ClipNorm(1.0, norm_type=20, nonfinite=policy),
    "value": lambda policy: ClipValue(1.0, nonfinite=policy),
    "autoclip": lambda policy: ClipNorm(Percentile(10), by="parameter", nonfinite=policy),
    "none": lambda policy: NoClip(nonfinite=policy),
    "agc": lambda policy: ClipNorm(
        Relative(), by="row", exclude="^b", min_ndim=1, nonfinite=policy
    ),
    "block rms": lambda policy: ClipNorm(1.0, by="parameter", measure="rms", nonfinite=policy),
    "budget": lambda policy: ClipNorm(1.0, by="row", budget="size", nonfinite=policy),
    "soft": lambda policy: ClipNorm(1.0, response="soft", nonfinite=policy),
    "tanh": lambda policy: ClipNorm(1.0, response="tanh", nonfinite=policy),
    "huber": lambda policy: ClipNorm(1.0, response="huber", nonfinite=policy),
    "normalize": lambda policy: ClipNorm(1.0, response="normalize", nonfinite=policy),
    "value of rows": lambda policy: ClipValue(1.0, by="row", nonfinite=policy),
    "asymmetric value": lambda policy: ClipValue((-1.0, 0.5), nonfinite=policy),
    "smooth value": lambda policy: ClipValue((-1.0, 0.5), response="tanh", nonfinite=policy),
}


def on(device: str, dtype: torch.dtype) -> list[tuple[str, Tensor]]:
    shapes = {"a": (3, 2), "b": (), "c": (5,)}
    params = {
        name: nn.Parameter(torch.ones(s, device=device, dtype=dtype)) for name, s in shapes.items()
    }
    for name in "ab":
        params[name].grad = torch.full_like(params[name], 2.0)
    return list(params.items())


@pytest.mark.parametrize("kind", ASYNCHRONOUS)
@pytest.mark.parametrize("policy", ["pass", "zero"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_no_value_is_read_from_a_device_that_has_none(
    kind: str, policy: str, dtype: torch.dtype
) -> None:
    clipper = ASYNCHRONOUS[kind](policy)
    params = on("meta", dtype)
    metrics = [clipper(params).metrics() for _ in range(2)][-1]
    assert {value.device.type for value in metrics.values()} == {"meta"}


def test_a_report_without_gradients_lies_on_the_device_of_the_parameters() -> None:
    metrics = ClipNorm(1.0)(nn.Linear(2, 2, device="meta")).metrics()
    assert {value.device.type for value in metrics.values()} == {"meta"}


def test_the_skip_policy_reads_one_value_and_the_test_above_would_notice() -> None:
    with pytest.raises((RuntimeError, NotImplementedError), match="meta"):
        ClipNorm(1.0)(on("meta", torch.float32))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("kind", ASYNCHRONOUS)
@pytest.mark.parametrize("policy", ["pass", "zero"])
def test_cuda_is_not_synchronised(kind: str, policy: str) -> None:
    clipper, params = ASYNCHRONOUS[kind](policy), on("cuda", torch.float32)
    clipper(params)
    torch.cuda.set_sync_debug_mode("error")
    try:
        metrics = clipper(params).metrics()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert metrics["grad/norm"].isfinite().item()


@pytest.mark.parametrize("make", [lambda: ClipNorm(1.0), lambda: Chain([ClipNorm(1.0)])])
def test_it_counts_the_steps_that_were_skipped(make: Callable[[], Any]) -> None:
    clipper, counts = make(), []
    for value in (3.0, math.nan, 1.0, math.inf, 0.5):
        weight = nn.Parameter(torch.zeros(1))
        weight.grad = torch.tensor([value])
        counts.append(clipper([weight]))
    assert [int(report.skipped_steps) for report in counts] == [0, 1, 1, 2, 2]
    fresh, older = make(), dict(clipper.state_dict())
    fresh.load_state_dict(older)
    assert int(fresh.skipped_steps) == 2
    for key in [key for key in older if key.endswith("skipped_steps")]:
        del older[key]  # a state of before they were counted
    fresh.load_state_dict(older)
    assert int(fresh.skipped_steps) == 0
    assert int(fresh.steps) == 5
