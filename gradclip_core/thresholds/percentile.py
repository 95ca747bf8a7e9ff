"""Percentiles of the norms seen: AutoClip, the rolling quantile, the rolling median."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gradclip_core.checks import check_finite, check_number
from gradclip_core.parts.host_step import HostParts
from gradclip_core.parts.norms import Parts
from gradclip_core.thresholds.base import Statistic
from gradclip_core.thresholds.ordered import RollingPercentile
from gradclip_core.thresholds.window import Window

_PERCENTILES = "a percentile: 0, or from 1 to 100 (10 for a share of 0.1 of the norms)"


class Percentile(Window):
    """The q-th percentile of the norms seen so far, this step's included: AutoClip.

    Examples:
        >>> import torch
        >>> from gradclip_core import ClipNorm, Percentile
        >>> clipper = ClipNorm(Percentile(50))
        >>> weight = torch.nn.Parameter(torch.zeros(1))
        >>> for norm in (1.0, 2.0, 9.0):
        ...     weight.grad = torch.tensor([norm])
        ...     report = clipper([weight])
        >>> print(f"{report.threshold:.2f}")
        2.00

    tau_t = percentile({n_1, ..., n_t}, q), with linear interpolation as in NumPy. Source:
    Seetharaman, Wichern, Pardo and Le Roux 2020, arXiv:2007.14469, section 3, who recommend
    q = 10 (about nine steps in ten are then clipped: it acts as a normaliser; take 90 to 99 for
    a safety net). The paper keeps every norm; `window` keeps the last so many. A short window
    is the rolling quantile of Merad and Gaiffas 2023, arXiv:2309.17316.

    State: `window` + 1 numbers of 8 bytes for each part. The update costs O(log window) on CPU
    and one sort of the window on CUDA, without a host synchronisation. Raises ValueError for
    a q out of range, or between 0 and 1, which would be a share, and unless window >= 1.

    Args:
        q: the percentile, 0 or from 1 to 100.
        window: how many of the last norms count, >= 1.
    """

    def __init__(self, q: float = 10.0, window: int = 10_000) -> None:
        super().__init__(window)
        self.q = check_number("q", q, _PERCENTILES, lambda q: q == 0 or 1 <= q <= 100)
        self._ordered: list[RollingPercentile] | None = None  # of the history, on CPU only

    def forward(self, parts: Parts) -> Tensor:
        """Take in this step's norms and return the percentiles, (k,)."""
        self._allocate(parts)
        was_full = self.count >= self.window
        replaced = self._record(parts)
        if parts.norms.device.type == "cpu":
            return self._on_host(parts, replaced, was_full)
        return self._on_device()

    def host_thresholds(self, parts: HostParts) -> float:
        """Take in the norm of the only part and return its percentile."""
        norm = parts.one_norm()
        history, count = self._numbers()
        if self._ordered is None:
            self._ordered = [RollingPercentile(history[: min(count[0], self.window)], self.q)]
        ordered = self._ordered[0]
        if norm > 0:
            place = count[0] % self.window
            if count[0] >= self.window:
                ordered.replace(history[place], norm)
            else:
                ordered.add(norm)
            history[place] = norm
            count[0] += 1
        return ordered.value()

    def _on_host(self, parts: Parts, replaced: Tensor, was_full: Tensor) -> Tensor:
        if self._ordered is None:
            rows = zip(self.history, self._filled().tolist(), strict=True)
            self._ordered = [RollingPercentile(row[:n].tolist(), self.q) for row, n in rows]
        else:
            norms, olds = parts.norms.tolist(), replaced.tolist()
            full = was_full.tolist()
            for i in parts.usable.nonzero().view(-1).tolist():
                if full[i]:
                    self._ordered[i].replace(olds[i], norms[i])
                else:
                    self._ordered[i].add(norms[i])
        return parts.norms.new_tensor([ordered.value() for ordered in self._ordered])

    def _on_device(self) -> Tensor:
        ordered = self.history.masked_fill(self._empty(), math.inf).sort(dim=1).values
        position = (self._filled().unsqueeze(1) - 1).clamp(min=0).to(ordered.dtype) * (self.q / 100)
        low = ordered.gather(1, position.floor().long())
        high = ordered.gather(1, position.ceil().long())
        return torch.where(low == high, low, low + (high - low) * position.frac()).squeeze(1)

    def _rearranged(self) -> None:
        self._ordered = None


class Median(Statistic):
    """A multiple of the rolling median of the norms before this step.

    Examples:
        >>> import torch
        >>> from gradclip_core import ClipNorm, Median
        >>> clipper = ClipNorm(Median(2.0))
        >>> weight = torch.nn.Parameter(torch.zeros(1))
        >>> for norm in (1.0, 1.5, 2.0, 50.0):
        ...     weight.grad = torch.tensor([norm])
        ...     report = clipper([weight])
        >>> print(f"{report.threshold:.2f}")
        3.00

    tau_t = factor * median({n_{t-window}, ..., n_{t-1}}), inf at the first step. Source: the
    rule of icefall's ScaledAdam (Yao et al. 2023, arXiv:2310.11230; `clipping_scale` 2.0, 100
    norms), which renews the median every 100 steps; here it is renewed at every step. Unclipped
    norms are kept, and half of them may be outliers before the threshold moves: the most robust
    of the cheap rules, which follows a real change of level within half a window. This step's
    norm is left out, so that an early spike cannot lift its own threshold.

    State: `window` + 2 numbers of 8 bytes for each part. Raises ValueError unless factor is a
    finite number > 0 and window >= 1.

    Args:
        factor: multiple of the median, a finite number > 0.
        window: how many of the last norms count, >= 1.
    """

    previous: Tensor

    def __init__(self, factor: float = 2.0, window: int = 100) -> None:
        super().__init__()
        self.factor = check_finite("factor", factor)
        self.median = Percentile(50.0, window)
        self.window = window
        self._declare("previous", math.inf)

    def forward(self, parts: Parts) -> Tensor:
        """Return the thresholds, (k,), and take in this step's norms."""
        self._allocate(parts)
        threshold = self.factor * self.previous
        self.previous = self.median(parts)
        return threshold

    def host_thresholds(self, parts: HostParts) -> float:
        """Return the threshold of the only part and take in its norm."""
        (previous,) = self._numbers()
        threshold: float = self.factor * previous[0]
        previous[0] = self.median.host_thresholds(parts)
        return threshold
