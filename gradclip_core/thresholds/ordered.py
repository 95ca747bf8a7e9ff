"""A percentile of numbers that come and go, in O(log n) however many there are."""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections.abc import Iterable

_CHUNK = 512  # numbers of a short list; moving up to twice as many costs less than a look-up


class Ordered:
    """Numbers in order, in short lists: one comes or goes without moving all that are larger."""

    __slots__ = ("_lasts", "_lists", "size")

    def __init__(self, ordered: list[float]) -> None:
        self._lists = [ordered[i : i + _CHUNK] for i in range(0, len(ordered), _CHUNK)]
        self._lasts = [part[-1] for part in self._lists]
        self.size = len(ordered)

    @property
    def first(self) -> float:
        """The smallest number."""
        return self._lists[0][0]

    @property
    def last(self) -> float:
        """The largest number."""
        return self._lasts[-1]

    def add(self, number: float) -> None:
        """Take a number in."""
        self.size += 1
        place = bisect_left(self._lasts, number)
        if place == len(self._lists):
            if not place:
                self._lists.append([])
                self._lasts.append(number)
                place = 1
            place -= 1
        part = self._lists[place]
        insort(part, number)
        if len(part) > 2 * _CHUNK:
            self._lists.insert(place, part[:_CHUNK])
            self._lasts.insert(place, part[_CHUNK - 1])
            del part[:_CHUNK]
            place += 1
        self._lasts[place] = part[-1]

    def remove(self, number: float) -> None:
        """Take out one number that is there."""
        self.size -= 1
        place = bisect_left(self._lasts, number)
        part = self._lists[place]
        del part[bisect_left(part, number)]
        if part:
            self._lasts[place] = part[-1]
        else:
            del self._lists[place], self._lasts[place]


class RollingPercentile:
    """The q-th percentile of a collection, with linear interpolation as in NumPy.

    The numbers up to the percentile and those above it are kept apart, each in order, so that the
    two between which it lies are the last and the first.
    """

    __slots__ = ("_high", "_low", "_share")

    def __init__(self, numbers: Iterable[float], q: float) -> None:
        self._share = q / 100
        ordered = sorted(numbers)
        lower = self._lower(len(ordered))
        self._low, self._high = Ordered(ordered[:lower]), Ordered(ordered[lower:])

    def add(self, number: float) -> None:
        """Take a number in."""
        below = self._low.size and number <= self._low.last
        (self._low if below else self._high).add(number)
        self._balance()

    def replace(self, old: float, new: float) -> None:
        """Take a number in for one that is there."""
        low, high = self._low, self._high
        (low if low.size and old <= low.last else high).remove(old)
        (low if low.size and new <= low.last else high).add(new)
        self._balance()

    def value(self) -> float:
        """The percentile; inf of nothing."""
        if not self._low.size:
            return math.inf
        position = (self._low.size + self._high.size - 1) * self._share
        low, beyond = self._low.last, position - math.floor(position)
        return low + (self._high.first - low) * beyond if beyond else low

    def _lower(self, size: int) -> int:
        """How many of so many numbers are not above the percentile."""
        return math.floor((size - 1) * self._share) + 1 if size else 0

    def _balance(self) -> None:
        low, high = self._low, self._high
        lower = self._lower(low.size + high.size)
        while low.size < lower:
            first = high.first
            high.remove(first)
            low.add(first)
        while low.size > lower:
            last = low.last
            low.remove(last)
            high.add(last)
