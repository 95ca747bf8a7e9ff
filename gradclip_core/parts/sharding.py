"""Gradients spread over processes: DTensors, as FSDP2 and tensor parallelism make them.

The rules work on the local shards; what they measure is added up over the processes here, with
one collective for each process group and measurement, so that every process decides alike.
Other tensors count as held by each process (one process, DDP, unsharded parameters) and cost
nothing here.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from gradclip_core.parts.gradients import Gradients, ShardLayout

_AVAILABLE = dist.is_available()
# Powers up to this one of any float32 number but 0 and inf fit into float64.
_SMALL_POWER = 6


def localize(found: Gradients) -> Gradients:
    """Put the local shards of DTensors into `grads`, as tensors that share their memory.

    A process without a piece of a sharded gradient (an empty shard, or no gradient while others
    may have one) gets zeros in its place, which change no norm. Gradients that lie otherwise
    than their parameters, such as the partial sums of tensor parallelism, are brought into line.
    """
    kind = _dtensor()
    if kind is None or kind not in map(type, found.params):
        return found
    held = dict(zip(found.present, found.grads, strict=True))
    layouts = [_layout(param) if type(param) is kind else None for param in found.params]
    present, grads = [], []
    for position, (param, layout) in enumerate(zip(found.params, layouts, strict=True)):
        shared = layout is not None and len(layout.groups) > 0
        if position in held or (shared and param.requires_grad and param.numel()):
            present.append(position)
            grads.append(held[position] if layout is None else _local_gradient(param))
    return replace(found, present=present, grads=grads, layouts=layouts)


def local(tensor: Tensor) -> Tensor:
    """The local shard of a DTensor, zeros for an empty one."""
    if not is_sharded(tensor):
        return tensor
    dtensor: Any = tensor
    shard: Tensor = dtensor.to_local()
    return shard if shard.numel() else shard.new_zeros([max(n, 1) for n in shard.shape])


def gathered(values: Tensor, param: Tensor) -> Tensor:
    """The whole of shards, as `local` gives them, that lie over processes as a DTensor does."""
    from torch.distributed.tensor import DTensor

    dtensor: Any = param
    shape = dtensor.to_local().shape  # an empty shard has zeros in its place
    pieces = values if values.shape == shape else values.new_empty(shape)
    mesh, places = dtensor.device_mesh, dtensor.placements
    spread = DTensor.from_local(
        pieces, mesh, places, run_check=False, shape=param.shape, stride=param.stride()
    )
    whole: Tensor = spread.full_tensor()
    return whole


def shard_of(values: Tensor, param: Tensor) -> Tensor:
    """This process's shard of a tensor that all hold, laid out as a DTensor is."""
    from torch.distributed.tensor import distribute_tensor

    dtensor: Any = param
    return local(
        distribute_tensor(values, dtensor.device_mesh, dtensor.placements, src_data_rank=None)
    )


def whole(
    norms: Tensor, found: Gradients, norm_type: float, rows: Sequence[int] | None = None
) -> Tensor:
    """Norms over all processes, (k,), from the norms of the local shards.

    The entries belong to the parameters one after the other: one for each, or `rows`. Sums of
    powers are added up for a finite p, the largest is taken for inf; NaN and inf reach everyone.
    """
    for group, device_type, positions in _groups(found):
        mask = torch.zeros(len(found.params), dtype=torch.bool, device="cpu")
        mask[positions] = True
        if rows is not None:
            mask = mask.repeat_interleave(torch.tensor(rows, device="cpu"))
        index = mask.nonzero().flatten().to(norms.device)
        wide = any(found.params[i].dtype.itemsize > 4 for i in positions)
        pieces = norms[index].to(device_type)
        combined = _combine(pieces, norm_type, group, scaled=wide or norm_type > _SMALL_POWER)
        norms = norms.index_copy(0, index, combined.to(norms.device))
    return norms


def present_anywhere(found: Gradients) -> Sequence[int]:
    """The positions of the parameters that have a gradient on any process."""
    if not found.layouts:
        return found.present
    layouts = found.layouts
    here = [i for i in found.present if (s := layouts[i]) is None or s.has_gradient]
    flags = torch.zeros(len(found.params), device="cpu")
    flags[here] = 1.0
    positions: list[int] = (
        whole(flags.to(found.device), found, math.inf).nonzero().view(-1).tolist()
    )
    return positions


def fill(found: Gradients) -> bool:
    """Give this process zeros for each gradient that only other processes have; whether it did.

    Clippers that ask if a gradient is still there then find the same on every process.
    """
    if not any(found.layouts):
        return False
    missing = [found.params[i] for i in present_anywhere(found) if found.params[i].grad is None]
    for param in missing:
        param.grad = torch.zeros_like(param)
    return bool(missing)


def local_rows(param: Tensor) -> Tensor:
    """Which rows (indices of the first dimension) the local shard of a DTensor holds.

    Row 0 where it holds none: `local` has a row of zeros then.
    """
    from torch.distributed.tensor import Replicate, distribute_tensor

    dtensor: Any = param
    placements = [p if getattr(p, "dim", None) == 0 else Replicate() for p in dtensor.placements]
    rows = torch.arange(len(param), device=dtensor.device_mesh.device_type)
    return local(distribute_tensor(rows, dtensor.device_mesh, placements, src_data_rank=None))


def joint_mean(value: Tensor) -> Tensor:
    """The mean over all processes of what each took of its own samples, such as its loss.

    The value itself where there is one process. Rules that watch the loss decide alike with it.
    """
    if not several_processes() or dist.get_world_size() == 1:
        return value
    dtensor: Any = value.detach()
    summed: Tensor = dtensor.full_tensor() if type(value) is _dtensor() else dtensor.clone()
    dist.all_reduce(summed)
    return summed / dist.get_world_size()


def several_processes() -> bool:
    """Whether this process is one of a group."""
    return _AVAILABLE and dist.is_initialized()


def refuse_flat(params: Sequence[Tensor]) -> None:
    """Raise TypeError for parameters of FSDP1, which look whole and are shards."""
    if any(getattr(param, "_fsdp_flattened", False) for param in params):
        raise TypeError(
            "cannot clip under FullyShardedDataParallel (FSDP1), which hides how it shards "
            "parameters: use torch.distributed.fsdp.fully_shard (FSDP2)"
        )


def is_sharded(param: Tensor) -> bool:
    """Whether it is a DTensor."""
    return type(param) is _dtensor()


def _dtensor() -> type | None:
    """The class of sharded tensors; None as long as nobody has imported it."""
    module = sys.modules.get("torch.distributed.tensor")
    kind: type | None = getattr(module, "DTensor", None)
    return kind


def _layout(param: Any) -> ShardLayout:
    mesh = param.device_mesh
    if mesh.get_coordinate() is None:
        raise ValueError(
            f"a parameter of shape {tuple(param.shape)} lies on a device mesh that does not "
            "include this process: clip only parameters that this process holds"
        )
    places = enumerate(param.placements)
    divided = [i for i, place in places if mesh.size(i) > 1 and not place.is_replicate()]
    groups = tuple(mesh.get_group(i) for i in divided)
    return ShardLayout(groups, mesh.device_type, has_gradient=param.grad is not None)


def _local_gradient(param: Any) -> Tensor:
    if param.grad is None:
        return torch.zeros_like(local(param.detach()))
    if param.grad.placements != param.placements:
        param.grad = param.grad.redistribute(placements=param.placements)
    return local(param.grad)


def _groups(found: Gradients) -> list[tuple[Any, str, list[int]]]:
    """Every process group with the positions of the parameters that it shares."""
    groups: dict[Any, tuple[Any, str, list[int]]] = {}
    for position, layout in enumerate(found.layouts):
        if layout is None:
            continue
        for group in layout.groups:
            entry: tuple[Any, str, list[int]] = (group, layout.device_type, [])
            groups.setdefault(group.group_name, entry)[2].append(position)
    return list(groups.values())


def _combine(norms: Tensor, norm_type: float, group: Any, *, scaled: bool) -> Tensor:
    """The norm of each entry over the processes of a group; `scaled`: no power overflows."""
    if math.isinf(norm_type):
        return _largest(norms, group)
    scale = torch.ones_like(norms)
    if scaled:
        peak = _largest(norms, group)
        scale = torch.where(peak.isfinite() & (peak > 0), peak, 1.0)
    powers = (norms / scale) ** norm_type
    dist.all_reduce(powers, group=group)
    return scale * powers ** (1 / norm_type)


def _largest(norms: Tensor, group: Any) -> Tensor:
    # The maximum of a collective may lose NaN; a flag beside it does not.
    nan = norms.isnan()
    both = torch.stack([norms.masked_fill(nan, 0.0), nan.to(norms.dtype)])
    dist.all_reduce(both, dist.ReduceOp.MAX, group=group)
    return both[0].masked_fill(both[1] > 0, math.nan)
