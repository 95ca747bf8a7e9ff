"""Thresholds: the largest norm that each part of a gradient may keep."""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections.abc import Callable
from typing import Any, Self

import torch
from torch import Tensor, nn

from gradclip_core.norms import Parts


class Threshold(nn.Module):
    """The largest norm that each part of the gradient may keep.

    Subclasses implement `forward(parts) -> Tensor` of shape (k,) or (), called once for every
    optimizer step. A statistic takes in only the norms that `parts.usable` marks: it never sees
    NaN, inf or zero. State lives in buffers, so that `state_dict` carries it; buffers may grow
    from their initial size to one row per part, and load back with any number of rows.
    """

    def forward(self, parts: Parts) -> Tensor:
        """Thresholds of this step's parts; updates the statistics."""
        raise TypeError(f"{type(self).__name__} must implement forward(parts)")

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        # Rows are allocated at the first step, so a fresh module has to take the stored shape,
        # and the stored dtype, which is that of the norms.
        for name, buffer in self.named_buffers(recurse=False):
            stored = state_dict.get(prefix + name)
            if isinstance(stored, Tensor) and stored.shape[1:] == buffer.shape[1:]:
                setattr(self, name, torch.empty_like(stored, device=buffer.device))
        super()._load_from_state_dict(state_dict, prefix, *rest)


class Fixed(Threshold):
    """A constant threshold (Mikolov 2012; Pascanu, Mikolov and Bengio 2013, arXiv:1211.5063).

    Raises ValueError unless `value` is a number > 0; inf measures and never clips.
    """

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = check_positive("threshold", value)

    def forward(self, parts: Parts) -> Tensor:
        """The constant, 0-d."""
        return parts.norms.new_full((), self.value)

    def extra_repr(self) -> str:
        """The constant, for printing."""
        return f"{self.value}"


class Percentile(Threshold):
    """The q-th percentile of the norms seen so far, this step's included: AutoClip.

    tau_t = percentile({n_1, ..., n_t}, q), with linear interpolation as in NumPy. Source:
    Seetharaman, Wichern, Pardo and Le Roux 2020, arXiv:2007.14469, section 3, who recommend
    q = 10 (about nine steps in ten are then clipped: it acts as a normaliser; take 90 to 99 for
    a safety net). The paper keeps every norm; `window` keeps the last so many. A short window
    is the rolling quantile of Merad and Gaiffas 2023, arXiv:2309.17316.

    State: `window` + 1 numbers of 8 bytes for each part. The update costs O(log window) on CPU
    and one sort of the window on CUDA, without a host synchronisation. Raises ValueError unless
    0 <= q <= 100 and window >= 1.
    """

    history: Tensor
    count: Tensor

    def __init__(self, q: float = 10.0, window: int = 10_000) -> None:
        super().__init__()
        if isinstance(q, bool) or not isinstance(q, (int, float)) or not 0 <= q <= 100:
            raise ValueError(f"q must be a percentile between 0 and 100, got {q!r}")
        if isinstance(window, bool) or not isinstance(window, int) or window < 1:
            raise ValueError(f"window must be an integer >= 1, got {window!r}")
        self.q = float(q)
        self.window = window
        self.register_buffer("history", torch.zeros(0, window, dtype=torch.float64))
        self.register_buffer("count", torch.zeros(0, dtype=torch.int64))
        self._sorted: list[list[float]] | None = None  # the history in order, on CPU only

    def forward(self, parts: Parts) -> Tensor:
        """Take in this step's norms and return the percentiles, (k,)."""
        if not len(self.history):
            rows = len(parts.norms)
            self.history = parts.norms.new_zeros(rows, self.window)
            self.count = torch.zeros(rows, dtype=torch.int64, device=parts.norms.device)
        if len(self.history) != len(parts.norms):
            raise ValueError(
                f"this threshold holds the history of {len(self.history)} parts and was given "
                f"{len(parts.norms)}; make one clipper for each set of parameters"
            )
        was_full = self.count >= self.window
        replaced = self._record(parts)
        if parts.norms.device.type == "cpu":
            return self._on_host(parts, replaced, was_full)
        return self._on_device()

    def _record(self, parts: Parts) -> Tensor:
        """Write the usable norms into the ring; return what stood in their place, (k,)."""
        slot = (self.count % self.window).unsqueeze(1)
        replaced = self.history.gather(1, slot)
        written = torch.where(parts.usable.unsqueeze(1), parts.norms.unsqueeze(1), replaced)
        self.history.scatter_(1, slot, written)
        self.count += parts.usable
        return replaced.squeeze(1)

    def _on_host(self, parts: Parts, replaced: Tensor, was_full: Tensor) -> Tensor:
        if self._sorted is None:
            counts = self.count.clamp(max=self.window).tolist()
            self._sorted = [
                sorted(row[:n].tolist()) for row, n in zip(self.history, counts, strict=True)
            ]
        else:
            steps = zip(
                self._sorted,
                parts.usable.tolist(),
                parts.norms.tolist(),
                was_full.tolist(),
                replaced.tolist(),
                strict=True,
            )
            for ordered, usable, norm, full, old in steps:
                if usable and full:
                    del ordered[bisect_left(ordered, old)]
                if usable:
                    insort(ordered, norm)
        return parts.norms.new_tensor([_percentile(ordered, self.q) for ordered in self._sorted])

    def _on_device(self) -> Tensor:
        filled = self.count.clamp(max=self.window).unsqueeze(1)
        empty = torch.arange(self.window, device=filled.device) >= filled
        ordered = self.history.masked_fill(empty, math.inf).sort(dim=1).values
        position = (filled - 1).clamp(min=0).to(ordered.dtype) * (self.q / 100)
        low = ordered.gather(1, position.floor().long())
        high = ordered.gather(1, position.ceil().long())
        return torch.where(low == high, low, low + (high - low) * position.frac()).squeeze(1)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        self._sorted = None
        return super()._apply(fn, recurse)  # type: ignore[no-untyped-call, no-any-return]

    def _load_from_state_dict(self, *args: Any) -> None:
        self._sorted = None
        super()._load_from_state_dict(*args)

    def extra_repr(self) -> str:
        """The settings, for printing."""
        return f"q={self.q:g}, window={self.window}"


def _percentile(ordered: list[float], q: float) -> float:
    """Linear interpolation between order statistics; inf while nothing was seen."""
    if not ordered:
        return math.inf
    position = (len(ordered) - 1) * (q / 100)
    low = ordered[math.floor(position)]
    high = ordered[math.ceil(position)]
    return low + (high - low) * (position - math.floor(position))


def check_positive(name: str, value: float) -> float:
    """Return `value` as a float; raise ValueError unless it is a number > 0 (inf is)."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
        raise ValueError(f"{name} must be a number > 0, got {value!r}")
    return float(value)
