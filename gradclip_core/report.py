"""What one clipping step did."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import torch
from torch import Tensor

from gradclip_core.parts.host_step import HostStep, Path
from gradclip_core.parts.norms import total

SCALARS = (
    "norm",
    "clipped_norm",
    "coefficient",
    "threshold",
    "clipped",
    "clipped_share",
    "skipped",
    "clip_rate",
)


@dataclass(frozen=True, slots=True)
class ClipReport:
    """The record of one step. Tensors stay on the gradients' device until somebody reads them.

    Examples:
        >>> import torch
        >>> from gradclip_core import ClipNorm
        >>> weight = torch.nn.Parameter(torch.zeros(2))
        >>> weight.grad = torch.tensor([3.0, 4.0])
        >>> report = ClipNorm(1.0, by="parameter")([("head", weight)])
        >>> report.norm.item(), report.threshold.item(), report.clipped.item()
        (5.0, 1.0, True)
        >>> report.worst_parameter
        'head'

    Args:
        norms: norm of each part of the gradient before clipping; (k,). Of singular values it may be
            an upper bound where that is under a fixed threshold, on CPU.
        clipped_norms: the same after clipping; (k,).
        thresholds: the threshold of each part, inf where there is none; (k,).
        over: whether the part was over its threshold; (k,) bool. A smooth response changes parts
            below their threshold too, which does not count as clipped.
        parameter_norms: norm of each parameter's gradient before clipping; (n,).
        skipped: whether the step was dropped: its gradient was not finite, or over the threshold of
            a clipper that skips such steps; 0-d bool.
        clip_rate: share of the steps so far in which a part was over its threshold; 0-d.
        skipped_steps: how many of the steps so far were dropped; 0-d integer.
        norm_type: the order of all these norms.
        names: the parameters' names, None where the caller gave none; n entries.
        weights: the share of each part in the norm of the whole, (k,), where the norms are root
            mean squares: (D_k / D)^(1/p); None where they are plain norms.
        path: how gradients were changed: "in place"; "folded", by the fused optimizer in its step;
            "update", where it was the optimizer's update that was; "none" where nothing was.
        stages: the reports of the clippers that a composed one ran in this step, in their order.
    """

    norms: Tensor
    clipped_norms: Tensor
    thresholds: Tensor
    over: Tensor
    parameter_norms: Tensor
    skipped: Tensor
    clip_rate: Tensor
    skipped_steps: Tensor
    norm_type: float
    names: Sequence[str | None]
    weights: Tensor | None = None
    path: Path = "none"
    stages: tuple[ClipReport, ...] = ()
    # Where a step was made in few operations, tensors are made of it when somebody reads one.
    _step: HostStep | None = field(default=None, init=False, repr=False, compare=False)

    @classmethod
    def of_step(cls, step: HostStep) -> ClipReport:
        """The report of a step that was made in few operations on CPU."""
        report = object.__new__(cls)
        object.__setattr__(report, "_step", step)
        return report

    def __getattr__(self, name: str) -> Any:
        # Called for fields without a value alone.
        if name not in _FIELDS:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        step = self._step
        assert step is not None
        rest = {"names": step.names, "norm_type": step.norm_type, "path": step.path}
        none = {"weights": None, "stages": ()}
        for field_name, value in (step.tensors() | rest | none).items():
            object.__setattr__(self, field_name, value)
        return object.__getattribute__(self, name)

    @property
    def norm(self) -> Tensor:
        """Norm of the whole gradient before clipping; 0-d."""
        return self._total(self.norms)

    @property
    def clipped_norm(self) -> Tensor:
        """Norm of the whole gradient after clipping; 0-d."""
        return self._total(self.clipped_norms)

    @property
    def coefficient(self) -> Tensor:
        """The smallest factor by which any part was scaled, 1 where nothing was; 0-d.

        Examples:
            >>> import torch
            >>> from gradclip_core import ClipNorm
            >>> weight = torch.nn.Parameter(torch.zeros(2))
            >>> weight.grad = torch.tensor([3.0, 4.0])
            >>> print(f"{ClipNorm(1.0)([weight]).coefficient:.2f}")
            0.20
        """
        factors = self._factors()
        return factors.amin() if len(factors) else self.norms.new_ones(())

    @property
    def threshold(self) -> Tensor:
        """The threshold of the part with the smallest factor, inf where there is none; 0-d."""
        if not len(self.norms):
            return self.norms.new_full((), torch.inf)
        return self.thresholds.gather(0, self._factors().argmin().view(1)).view(())

    @property
    def clipped(self) -> Tensor:
        """Whether any part was over its threshold; 0-d bool."""
        return self.over.any()

    @property
    def clipped_share(self) -> Tensor:
        """Share of the parts that were over their threshold; 0-d.

        Examples:
            >>> import torch
            >>> from gradclip_core import ClipNorm
            >>> weight = torch.nn.Parameter(torch.zeros(2))
            >>> weight.grad = torch.tensor([3.0, 4.0])
            >>> other = torch.nn.Parameter(torch.zeros(1))
            >>> other.grad = torch.tensor([0.5])
            >>> ClipNorm(1.0, by="parameter")([weight, other]).clipped_share.item()
            0.5
        """
        return self.over.to(self.norms.dtype).sum() / max(len(self.over), 1)

    @property
    def lifted_share(self) -> Tensor:
        """Share of the parts that were made larger, by a `Band` or "normalize"; 0-d.

        Examples:
            >>> import torch
            >>> from gradclip_core import Band, ClipNorm
            >>> weight = torch.nn.Parameter(torch.zeros(2))
            >>> weight.grad = torch.tensor([0.3, 0.4])
            >>> report = ClipNorm(2.0, band=Band(lower=0.5))([weight])
            >>> report.clipped_share.item(), report.lifted_share.item()
            (0.0, 1.0)
        """
        lifted = self.clipped_norms > self.norms
        return lifted.to(self.norms.dtype).sum() / max(len(lifted), 1)

    @property
    def worst_parameter(self) -> str | None:
        """Name of the parameter with the largest gradient norm; None without parameters.

        Examples:
            >>> import torch
            >>> from gradclip_core import ClipNorm
            >>> weight = torch.nn.Parameter(torch.zeros(2))
            >>> weight.grad = torch.tensor([3.0, 4.0])
            >>> ClipNorm(1.0)([("head.weight", weight)]).worst_parameter
            'head.weight'

        A NaN norm counts as the largest. Reads one value from the device.
        """
        if not len(self.parameter_norms):
            return None
        position = int(self.parameter_norms.nan_to_num(nan=torch.inf).argmax())
        return self.names[position] or f"parameter {position}"

    def metrics(self, prefix: str = "grad/") -> dict[str, Tensor]:
        """The scalar fields under `prefix`, ready for a logger; reads nothing.

        Examples:
            >>> import torch
            >>> from gradclip_core import ClipNorm
            >>> weight = torch.nn.Parameter(torch.zeros(2))
            >>> weight.grad = torch.tensor([3.0, 4.0])
            >>> sorted(ClipNorm(1.0)([weight]).metrics("grad/"))[:3]
            ['grad/clip_rate', 'grad/clipped', 'grad/clipped_norm']

        Args:
            prefix: what names begin with.
        """
        return {f"{prefix}{name}": getattr(self, name).float() for name in SCALARS}

    def as_dict(self) -> dict[str, float | bool | str | None]:
        """All fields as plain Python values: one transfer from the device, plus the name.

        Examples:
            >>> import torch
            >>> from gradclip_core import ClipNorm
            >>> weight = torch.nn.Parameter(torch.zeros(2))
            >>> weight.grad = torch.tensor([3.0, 4.0])
            >>> row = ClipNorm(1.0)([("head", weight)]).as_dict()
            >>> row["norm"], row["clipped"], row["worst_parameter"]
            (5.0, True, 'head')
        """
        values = torch.stack([getattr(self, name).double() for name in SCALARS]).tolist()
        row: dict[str, float | bool | str | None] = dict(zip(SCALARS, values, strict=True))
        row.update({name: bool(row[name]) for name in ("clipped", "skipped")})
        return row | {"worst_parameter": self.worst_parameter, "path": self.path}

    def _factors(self) -> Tensor:
        usable = self.norms.isfinite() & (self.norms > 0)
        return torch.where(usable, self.clipped_norms / self.norms, 1.0)

    def _total(self, norms: Tensor) -> Tensor:
        return total(norms if self.weights is None else norms * self.weights, self.norm_type)

    def __repr__(self) -> str:
        fields = ", ".join(f"{key}={_short(value)}" for key, value in self.as_dict().items())
        return f"ClipReport({fields})"


_FIELDS = {entry.name for entry in fields(ClipReport)} - {"_step"}


def _short(value: float | bool | str | None) -> str:
    return f"{value:.4g}" if isinstance(value, float) else repr(value)
