"""Composed clippers on parameters of which one process has no gradient, step by step."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Shard, distribute_tensor

from gradclip_core import ByName, ClipNorm, Clipper, ClipValue, UClip, chain

STEPS, POISONED, BARE = 6, 3, (1, 4)  # a step with a NaN; steps without a gradient on one process
ROWS = {"first.weight": 3, "first.bias": 4, "last.weight": 6}
CLIPPERS = {
    "chain": lambda: chain(ClipValue(0.8), ClipNorm(1.5)),
    "measures": lambda: chain(ClipNorm(2.0, norm_type=1), ClipNorm(0.5, by="parameter")),
    "by name": lambda: ByName({"bias": ClipNorm(0.3)}, otherwise=ClipNorm(1.0)),
    "carry": lambda: UClip(ClipNorm(1.0)),
    "chain of a carry": lambda: chain(UClip(ClipValue(0.5)), ByName({"last": ClipNorm(0.5)})),
    "carry by parameter": lambda: UClip(ClipNorm(0.5, by="parameter"), max_carry=1.0),
}


def gradient(name: str, step: int) -> Tensor:
    """Of one parameter; in the steps BARE the rows of the last of two processes are zero."""
    rows = ROWS[name]
    generator = torch.Generator().manual_seed(10 * step + rows)
    whole = torch.randn(rows, 2, generator=generator, dtype=torch.float64)
    if step in BARE:
        whole[(rows + 1) // 2 :] = 0.0
    if step == POISONED and name == "first.bias":
        whole[0, 0] = torch.nan
    return whole


def train(kind: str, *, sharded: bool) -> list[dict[str, Any]]:
    """What each step left of the gradients, and its report."""
    weights = {n: torch.zeros(rows, 2, dtype=torch.float64) for n, rows in ROWS.items()}
    params = {n: nn.Parameter(_shard(w) if sharded else w) for n, w in weights.items()}
    optimizer = torch.optim.SGD(params.values(), 0.1)
    clipper: Clipper = CLIPPERS[kind]()
    records = []
    for step in range(STEPS):
        bare = sharded and step in BARE and dist.get_rank() == 1
        for name, param in params.items():
            grad = gradient(name, step)
            param.grad = None if bare else (_shard(grad) if sharded else grad)
        report = clipper(params.items())
        optimizer.step()
        records.append(
            {
                "weights": {name: _whole(param) for name, param in params.items()},
                "norms": report.parameter_norms.clone(),
                "report": {k: v for k, v in report.as_dict().items() if k != "threshold"},
            }
        )
    return records


def train_all() -> dict[str, list[dict[str, Any]]]:
    """Every kind, in this process's part."""
    return {kind: train(kind, sharded=True) for kind in CLIPPERS}


def _shard(whole: Tensor) -> DTensor:
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    return distribute_tensor(whole, mesh, [Shard(0)], src_data_rank=None)


def _whole(param: nn.Parameter) -> Tensor:
    tensor = param.detach()
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor.clone()
