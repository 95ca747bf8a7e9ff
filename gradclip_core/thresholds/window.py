"""The last norms of each part, in a ring, and their mean and standard deviation."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from gradclip_core.checks import check_finite, check_integer, renamed_arguments
from gradclip_core.parts.host_step import HostParts
from gradclip_core.parts.norms import Parts
from gradclip_core.thresholds.base import SD_FLOOR, Statistic


class ExactSums:
    """The sums of numbers >= 0 and of their squares, as integers: nothing is lost as they go.

    So a window is followed at the same cost whatever its length, and a run that was resumed has
    the same sums as one that was not.
    """

    __slots__ = ("_count", "_squares", "_sum")

    def __init__(self, numbers: Iterable[float]) -> None:
        self._count = self._sum = self._squares = 0
        for number in numbers:
            self.add(number)

    def add(self, number: float, times: int = 1) -> None:
        """Take a number in, or out with `times` -1."""
        numerator, denominator = number.as_integer_ratio()
        # In units of 2^-1074, of which every float is a multiple.
        shift = 1075 - denominator.bit_length()
        self._count += times
        self._sum += times * (numerator << shift)
        self._squares += times * (numerator * numerator << 2 * shift)

    def moments(self) -> tuple[float, float]:
        """The mean, and the standard deviation (with divisor n - 1) as a share of it."""
        n, square = self._count, self._sum * self._sum
        spread = n * (n * self._squares - square)
        share = math.sqrt(spread / ((n - 1) * square)) if square else 0.0
        return self._sum / (n << 1074), share


class Window(Statistic):
    """A statistic of the last `window` usable norms of each part.

    State: `window` + 1 numbers of 8 bytes for each part.
    """

    history: Tensor
    count: Tensor

    def __init__(self, window: int) -> None:
        super().__init__()
        self.window = check_integer("window", window)
        self._declare("history", 0.0, width=window)
        self._declare("count", 0)

    def _record(self, parts: Parts) -> Tensor:
        """Write the usable norms into the ring; return what stood in their place, (k,)."""
        slot = (self.count % self.window).unsqueeze(1)
        replaced = self.history.gather(1, slot)
        written = torch.where(parts.usable.unsqueeze(1), parts.norms.unsqueeze(1), replaced)
        self.history.scatter_(1, slot, written)
        self.count += parts.usable
        return replaced.squeeze(1)

    def _filled(self) -> Tensor:
        """How many norms each row holds, (k,)."""
        return self.count.clamp(max=self.window)

    def _empty(self) -> Tensor:
        """The places of the ring that hold no norm yet, (k, window)."""
        places = torch.arange(self.window, device=self.count.device)
        return places >= self._filled().unsqueeze(1)


@renamed_arguments(z="deviations", least="warmup_steps")
class WindowZScore(Window):
    """Mean plus `deviations` standard deviations of the norms in a window before this step.

    Examples:
        >>> import torch
        >>> from gradclip_core import ClipNorm, WindowZScore
        >>> clipper = ClipNorm(WindowZScore(3.0, window=4, warmup_steps=3))
        >>> weight = torch.nn.Parameter(torch.zeros(1))
        >>> for norm in (1.0, 1.2, 1.1, 9.0):
        ...     weight.grad = torch.tensor([norm])
        ...     report = clipper([weight])
        >>> print(f"{report.threshold:.2f}")
        1.40

    tau_t = mean(W) + z * max(sd(W), mean(W) / 1000), z = `deviations`, W = {n_{t-window}, ...,
    n_{t-1}}, sd with the divisor |W| - 1; inf until W holds `warmup_steps` norms. Source: the skip
    rule of OLMo-core's optimizers. Unclipped norms are kept, as there: one huge norm lifts the
    threshold until it leaves the window; `Median` and `LogZScore` resist.

    Args:
        deviations: z, > 0.
        window: norms kept, >= 2.
        warmup_steps: norms to see before the first threshold, from 2 to `window`.

    State: `window` + 1 numbers of 8 bytes for each part. Raises ValueError for values out of
    range.
    """

    def __init__(self, deviations: float = 6.0, window: int = 128, warmup_steps: int = 64) -> None:
        window = check_integer("window", window, 2)
        super().__init__(window)
        self.deviations = check_finite("deviations", deviations)
        self.warmup_steps = check_integer("warmup_steps", warmup_steps, 2)
        self._sums: ExactSums | None = None  # of the window, while it is followed in numbers
        if self.warmup_steps > window:
            raise ValueError(f"warmup_steps must be at most window = {window}, got {warmup_steps}")

    def forward(self, parts: Parts) -> Tensor:
        """Return the thresholds, (k,), and take in this step's norms."""
        self._allocate(parts)
        self._sums = None
        threshold = self._limit()
        self._record(parts)
        return threshold

    def host_thresholds(self, parts: HostParts) -> float:
        """Return the threshold of the only part and take in its norm."""
        norm = parts.one_norm()
        history, count = self._numbers()
        held = min(count[0], self.window)
        if self._sums is None:
            self._sums = ExactSums(history[:held])
        threshold = math.inf
        if held >= self.warmup_steps:
            mean, variation = self._sums.moments()
            threshold = mean * (1 + self.deviations * max(variation, SD_FLOOR))
        if norm > 0:
            place = count[0] % self.window
            self._sums.add(norm)
            if count[0] >= self.window:
                self._sums.add(history[place], -1)
            history[place] = norm
            count[0] += 1
        return threshold

    def _limit(self) -> Tensor:
        # Relative to the largest, whose square could overflow; a loss may be negative or zero.
        peak = self.history.abs().amax(dim=1, keepdim=True)
        ratios = self.history / torch.where(peak > 0, peak, 1.0)
        number = self._filled().unsqueeze(1).to(peak.dtype)
        mean = ratios.sum(dim=1, keepdim=True) / number
        squares = (ratios - mean).square().masked_fill(self._empty(), 0.0)
        sd = (squares.sum(dim=1, keepdim=True) / (number - 1)).sqrt()
        limit = peak * (mean + self.deviations * torch.maximum(sd, SD_FLOOR * mean.abs()))
        return limit.masked_fill(number < self.warmup_steps, math.inf).squeeze(1)

    def _rearranged(self) -> None:
        self._sums = None
