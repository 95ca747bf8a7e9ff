"""Gradients laid out over processes in every way, clipped by every rule, beside the whole ones."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.tensor import (
    DTensor,
    Partial,
    Placement,
    Replicate,
    Shard,
    distribute_tensor,
)
from torch.distributed.tensor.placement_types import _StridedShard

from gradclip_core import (
    Band,
    ClipNorm,
    ClippedEma,
    Clipper,
    ClipValue,
    Ema,
    NoClip,
    NonFiniteGradientError,
    Percentile,
    PowerClip,
    Relative,
    TrailingNorm,
)

STEPS = 5
POISONED, ABSENT = 2, 3  # a step with a NaN on the last process, one without its gradients

# Uneven and empty shards for 2 and for 4 processes, scales that differ by part.
SHAPES: dict[str, tuple[int, ...]] = {
    "first.weight": (7, 5),
    "first.bias": (1,),
    "second.weight": (1, 6),
    "second.bias": (6,),
    "head.kernel": (6, 3, 2, 2),
    "head.scale": (),
    "unused.weight": (4, 4),
}
# Placement of each parameter on a mesh of one or two dimensions; None: not a DTensor.
Layout = dict[str, str | None]
LAYOUTS: dict[str, Layout] = {
    "rows": dict.fromkeys(SHAPES, "0") | {"head.scale": "replicate"},
    "columns": {
        "first.weight": "1",
        "first.bias": "replicate",
        "second.weight": "1",
        "second.bias": "0",
        "head.kernel": "1",
        "head.scale": "partial",
        "unused.weight": "1",
    },
    "mixed": {
        "first.weight": "0",
        "first.bias": None,
        "second.weight": None,
        "second.bias": "partial",
        "head.kernel": "2",
        "head.scale": "replicate",
        "unused.weight": "0",
    },
}

# FSDP2 over tensor parallelism, and FSDP2 with replicas.
LAYOUTS_OF_FOUR: dict[str, Layout] = {
    "two dimensions": {
        "first.weight": "0,1",
        "first.bias": "0,replicate",
        "second.weight": "1,0",
        "second.bias": "0,partial",
        "head.kernel": "strided 0,0",
        "head.scale": "partial,replicate",
        "unused.weight": "strided 0,0",
    },
    "replicas": dict.fromkeys(SHAPES, "replicate,0") | {"head.scale": "replicate,replicate"},
    "meshes of one and two dimensions": {
        "first.weight": "0",
        "first.bias": None,
        "second.weight": "replicate,1",
        "second.bias": "0",
        "head.kernel": "0,1",
        "head.scale": "replicate",
        "unused.weight": "0,1",
    },
}

Make = Callable[[], Clipper]
STRATEGIES: dict[str, Make] = {
    "none": lambda: NoClip(),
    "global": lambda: ClipNorm(1.0),
    "p1": lambda: ClipNorm(5.0, norm_type=1),
    "p half": lambda: ClipNorm(50.0, norm_type=0.5),
    "p9": lambda: ClipNorm(0.5, norm_type=9),
    "inf": lambda: ClipNorm(0.5, norm_type=math.inf),
    "inf by row": lambda: ClipNorm(0.5, norm_type=math.inf, by="row"),
    "rms": lambda: ClipNorm(0.3, measure="rms"),
    "block rms": lambda: ClipNorm(0.3, measure="rms", by="parameter"),
    "row rms": lambda: ClipNorm(0.3, measure="rms", by="row"),
    "parameter": lambda: ClipNorm(0.7, by="parameter"),
    "group": lambda: ClipNorm(0.7, by="group"),
    "module": lambda: ClipNorm(0.7, by="module"),
    "mapping": lambda: ClipNorm(0.7, by={"weights": "weight"}),
    "equal budget": lambda: ClipNorm(0.7, by="module", budget="equal"),
    "budget by size": lambda: ClipNorm(0.7, by="module", budget="size"),
    "agc": lambda: ClipNorm(Relative(0.2), by="row", eps=0),
    "agc without the head": lambda: ClipNorm(Relative(0.2), by="row", exclude="head", min_ndim=2),
    "relative module": lambda: ClipNorm(Relative(0.2), by="module"),
    "soft": lambda: ClipNorm(1.0, response="soft"),
    "tanh": lambda: ClipNorm(1.0, response="tanh", by="parameter"),
    "huber": lambda: ClipNorm(1.0, response="huber", by="row"),
    "normalize": lambda: ClipNorm(1.0, response="normalize"),
    "skip": lambda: ClipNorm(Percentile(60), response="skip"),
    "value": lambda: ClipValue(0.2),
    "value by row": lambda: ClipValue(Percentile(20), by="row"),
    "value pair": lambda: ClipValue((-0.1, 0.4)),
    "value pair rarely": lambda: ClipValue((-9.0, 2.0)),
    "value tanh": lambda: ClipValue(0.2, response="tanh"),
    "value tamed": lambda: ClipValue(0.2, response="tamed", by="parameter"),
    "autoclip": lambda: ClipNorm(Percentile(10)),
    "ema by row": lambda: ClipNorm(Ema(), by="row"),
    "adagc": lambda: ClipNorm(TrailingNorm(warmup_steps=2), by="parameter", eps=0),
    "spectral": lambda: spectral("clamp", by="parameter"),
    "spectral soft": lambda: spectral("soft_clamp", by="module"),
    "spectral scale": lambda: spectral("hard", threshold=Percentile(20)),
    "band of the average": lambda: ClipNorm(
        ClippedEma(1.1), by="module", band=Band(0.9, 0.1, 0.3, 2.0)
    ),
    "power": lambda: PowerClip(0.7, by="module"),
    "power by row": lambda: PowerClip(Percentile(20), by="row", min_exponent=0.5),
    "zero": lambda: ClipNorm(1.0, nonfinite="zero"),
    "pass": lambda: ClipNorm(1.0, nonfinite="pass"),
    "pass inf by parameter": lambda: ClipNorm(
        0.5, norm_type=math.inf, by="parameter", nonfinite="pass"
    ),
    "raise": lambda: ClipNorm(1.0, nonfinite="raise"),
    "patience": lambda: ClipNorm(1.0, patience=1),
    "poison outside": lambda: ClipNorm(1.0, exclude="first"),
}


def spectral(response: Any, threshold: Any = 0.7, by: Any = "model") -> Clipper:
    return ClipNorm(threshold, by=by, measure="spectral", response=response)


def whole_tensors(seed: int) -> dict[str, Tensor]:
    """One tensor for each parameter; without its processes' gradients at the step ABSENT."""
    generator = torch.Generator().manual_seed(seed)
    scales = [1.0, 0.1, 3.0, 0.0, 0.5, 1.0, 1.0]
    tensors = {
        name: scale * torch.randn(shape, generator=generator)
        for scale, (name, shape) in zip(scales, SHAPES.items(), strict=True)
    }
    if seed == POISONED:
        tensors["first.weight"][-1, -1] = math.nan
    if seed == ABSENT:
        tensors["first.weight"][4:] = 0.0
        tensors["head.kernel"].zero_()
    return tensors


def clip_whole(make: Make, dtype: torch.dtype) -> list[dict[str, Any]]:
    """The oracle: every step in one process, on ordinary tensors."""
    params = {n: nn.Parameter(t.to(dtype)) for n, t in whole_tensors(100).items()}
    clipper, records = make(), []
    for step in range(STEPS):
        for name, grad in whole_tensors(step).items():
            params[name].grad = None if name == "unused.weight" else grad.to(dtype)
        records.append(_record(clipper, params))
    return records


def clip_sharded(places: Layout, make: Make, dtype: torch.dtype) -> list[dict[str, Any]]:
    """The same steps with parameters laid out over all processes."""
    params = {n: _parameter(t.to(dtype), places[n]) for n, t in whole_tensors(100).items()}
    clipper, records = make(), []
    for step in range(STEPS):
        for name, grad in whole_tensors(step).items():
            params[name].grad = _gradient(grad.to(dtype), places[name])
        params["unused.weight"].grad = None
        # Laid out by rows, the last process has zeros alone of it at this step.
        last = dist.get_rank() == dist.get_world_size() - 1
        if step == ABSENT and places["first.weight"] == "0" and last:
            params["first.weight"].grad = None
        records.append(_record(clipper, params))
    return records


def _parameter(tensor: Tensor, place: str | None) -> nn.Parameter:
    if place is None:
        return nn.Parameter(tensor)
    whole = place.replace("partial", "replicate")
    return nn.Parameter(distribute_tensor(tensor, *_placed(whole), src_data_rank=None))


def _gradient(tensor: Tensor, place: str | None) -> Tensor:
    if place is None:
        return tensor
    mesh, placements = _placed(place)
    whole = [Replicate() if p.is_partial() else p for p in placements]
    gradient = distribute_tensor(tensor, mesh, whole, src_data_rank=None).to_local()
    for axis, placement in enumerate(placements):
        if placement.is_partial():
            gradient = gradient * (mesh.get_local_rank(axis) + 1) / sum(range(mesh.size(axis) + 1))
    return DTensor.from_local(
        gradient, mesh, placements, shape=tensor.shape, stride=tensor.stride()
    )


def _placed(place: str) -> tuple[DeviceMesh, list[Placement]]:
    parts = place.split(",")
    return _mesh(len(parts)), [_placement(part) for part in parts]


@functools.cache
def _mesh(dimensions: int) -> DeviceMesh:
    world = dist.get_world_size()
    return init_device_mesh("cpu", (world,) if dimensions == 1 else (2, world // 2))


def _placement(place: str) -> Placement:
    if place.startswith("strided"):
        return _StridedShard(int(place[-1]), split_factor=2)
    return {"replicate": Replicate(), "partial": Partial()}.get(place) or Shard(int(place))


def _record(clipper: Clipper, params: dict[str, nn.Parameter]) -> dict[str, Any]:
    """Clip once; the gradients left, the report and the state, as plain values and tensors."""
    groups = [
        {
            "params": [p for n, p in params.items() if ("bias" in n) == biases],
            "param_names": [n for n in params if ("bias" in n) == biases],
        }
        for biases in (False, True)
    ]
    try:
        report = clipper(groups)
    except NonFiniteGradientError as error:
        return {"error": str(error), "state": dict(clipper.state_dict())}
    return {
        "left": {name: _gathered(param) for name, param in params.items()},
        "norms": report.norms,
        "clipped_norms": report.clipped_norms,
        "thresholds": report.thresholds,
        "parameter_norms": report.parameter_norms,
        # The threshold told is that of the smallest of several factors, which may be equal.
        "report": {k: v for k, v in report.as_dict().items() if k != "threshold"},
        "state": {name: value.clone() for name, value in clipper.state_dict().items()},
    }


def _gathered(param: nn.Parameter) -> Tensor | None:
    """The whole gradient; a process's missing share counts as zeros, missing everywhere as None."""
    grad = param.grad
    if not isinstance(param, DTensor):
        return None if grad is None else grad.clone()
    here = torch.tensor(grad is not None)
    dist.all_reduce(here, dist.ReduceOp.MAX)
    if not here:
        return None
    grad = torch.zeros_like(param) if grad is None else grad
    return grad.detach().full_tensor()


def all_strategies(layouts: dict[str, Layout], dtype: str) -> dict[str, list[dict[str, Any]]]:
    """Every strategy under every layout, in this process's part."""
    return {
        f"{layout}/{name}": clip_sharded(places, make, getattr(torch, dtype))
        for layout, places in layouts.items()
        for name, make in STRATEGIES.items()
    }
