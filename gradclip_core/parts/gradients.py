"""The gradients of one optimizer step: whose they are, where they lie, how they are sharded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from gradclip_core.parts import native
from gradclip_core.parts.top_singular import TopSingular

Parameters: TypeAlias = (
    nn.Module
    | torch.optim.Optimizer
    | Tensor
    | Iterable[Tensor]
    | Iterable[tuple[str, Tensor]]
    | Iterable[Mapping[str, Any]]
)


@dataclass(frozen=True, slots=True)
class ShardLayout:
    """Where the pieces of a DTensor are: `groups` of processes that hold different ones.

    has_gradient: whether this process has a gradient of it, were it an empty piece.
    """

    groups: tuple[Any, ...]
    device_type: str
    has_gradient: bool


@dataclass(slots=True)
class Gradients:
    """The distinct parameters of one step and the gradients they hold.

    `params` lists every parameter once, also those without a gradient, so that the position of
    a parameter (and with it the state of a per-parameter threshold) is the same at each step.
    `present` holds the positions that have a gradient and `grads` their gradients, in the same
    order: the dense tensor itself, or the values of a coalesced sparse one, or the local shard
    of a DTensor, so that scaling them in place scales the gradient. Where there are DTensors,
    `layouts` says of each parameter over which processes; see `gradclip_core.parts.sharding`.
    `plain`: whether they are contiguous tensors of one dtype; `located`: where they lie.
    `loss_scale`: what they are still multiplied by, 0-d; norms are taken without it. `spectra`:
    what measuring has found out of the largest singular values of some.
    """

    params: list[Tensor] = field(default_factory=list)
    names: list[str | None] = field(default_factory=list)
    groups: list[int] = field(default_factory=list)
    present: Sequence[int] = field(default_factory=list)
    grads: list[Tensor] = field(default_factory=list)
    layouts: list[ShardLayout | None] = field(default_factory=list)
    plain: bool = False
    located: native.Located | None = None
    loss_scale: Tensor | None = None
    spectra: dict[int, TopSingular] = field(default_factory=dict, init=False)

    def name(self, position: int) -> str:
        """The name of a parameter, or its position and shape where the caller gave no names."""
        name = self.names[position]
        return name or f"parameter {position} of shape {tuple(self.params[position].shape)}"

    @property
    def is_whole(self) -> bool:
        """Whether every parameter has a gradient."""
        return len(self.present) == len(self.params)

    @property
    def device(self) -> torch.device:
        """The device of the first gradient, or parameter; statistics of the step live there.

        Parameters without a gradient may lie anywhere: frozen ones on `meta`, or offloaded.
        """
        tensors = self.grads or self.params
        return tensors[0].device if tensors else torch.device("cpu")

    def batch(self, *, by_row: bool = False) -> native.Batch | None:
        """The gradients as the kernel takes them; None where it cannot."""
        if self.located is not None and self.located.tensors is self.grads:
            return self.located.by_row() if by_row else self.located
        if not by_row:
            return native.batch(self.grads)
        held = [self.params[position] for position in self.present]
        pairs = zip(held, self.grads, strict=True)
        return native.batch(self.grads, [len(g) if p.ndim > 1 else 1 for p, g in pairs])


class Named(list[dict[str, Any]]):
    """Parameter groups whose names are plain already, without those of wrappers."""


class HandedOn(Named):
    """What one clipper hands on to another: parameter groups, perhaps none."""


def as_groups(gradients: Gradients, positions: Iterable[int] | None = None) -> HandedOn:
    """The parameters at these positions (all of them by default) as named groups, for `collect`."""
    groups: dict[int, dict[str, Any]] = {}
    for position in range(len(gradients.params)) if positions is None else positions:
        empty: dict[str, Any] = {"params": [], "param_names": []}
        group = groups.setdefault(gradients.groups[position], empty)
        group["params"].append(gradients.params[position])
        group["param_names"].append(gradients.names[position])
    return HandedOn(groups.values())


def check_unsharded(gradients: Gradients, rule: str) -> None:
    """Raise TypeError for DTensors, to a rule that needs whole tensors."""
    if any(gradients.layouts):
        raise TypeError(f"{rule} cannot take sharded gradients (DTensors); use ClipNorm")


def check_elements(gradients: Gradients, rule: str) -> None:
    """Raise TypeError where a rule that compares elements one by one meets gradients without order.

    Complex gradients, and sparse ones, whose values stand at places of their own.
    """
    for position, grad in zip(gradients.present, gradients.grads, strict=True):
        shard = bool(gradients.layouts) and gradients.layouts[position] is not None
        if grad.is_complex() or (not shard and grad.shape != gradients.params[position].shape):
            kind, name = "complex" if grad.is_complex() else "sparse", gradients.name(position)
            raise TypeError(f"{rule} cannot take {kind} gradients, as {name} has; use ClipNorm")
