"""What every threshold is, the state of those that learn, and the checks of their arguments."""

from __future__ import annotations

import inspect
import warnings
import weakref
from typing import Any

import torch
from torch import Tensor, nn

from gradclip_core.checks import check_number, check_positive
from gradclip_core.parts.buffer_view import BufferView
from gradclip_core.parts.gradients import Gradients
from gradclip_core.parts.host_step import HostParts, Numbers
from gradclip_core.parts.norms import Parts
from gradclip_core.parts.partition import WHOLE, Partition
from gradclip_core.short_help import ShortHelpModule
from gradclip_core.thresholds.kept_rows import KeptRows

# A standard deviation never counts as less than this share of the mean (in the logarithm: as
# less than this), so that norms which hardly differ do not make spikes of rounding errors.
SD_FLOOR = 1e-3

_WHOLE = Partition(((),), 0, keys=(WHOLE,))


class Threshold(ShortHelpModule):
    """The largest norm that each part of the gradient may keep.

    Examples:
        A threshold of one's own, here half of the norm:

        >>> import torch
        >>> from gradclip_core import ClipNorm, Threshold
        >>> class Half(Threshold):
        ...     def forward(self, parts):
        ...         return parts.norms / 2
        >>> weight = torch.nn.Parameter(torch.zeros(2))
        >>> weight.grad = torch.tensor([3.0, 4.0])
        >>> ClipNorm(Half(), eps=0)([weight]).clipped_norm.item()
        2.5

    Subclasses implement `forward(parts) -> Tensor` of shape (k,) or (), called once for every
    optimizer step. A statistic takes in only the norms that `parts.usable` marks: it never sees
    NaN, inf or zero. State lives in buffers, so that `state_dict` carries it; buffers may grow
    from their initial size to one row per part, and load back with any number of rows.
    """

    on_host = False  # whether there is a `host_thresholds` that does the same as `forward`
    one_part_on_host = False  # and whether it takes the norm of the whole alone
    settles = False  # whether it learns what clipping has left: `settle`, and `host_settle` too

    def __init_subclass__(cls, **settings: Any) -> None:
        super().__init_subclass__(**settings)
        if "forward" in cls.__dict__:
            cls.on_host = "host_thresholds" in cls.__dict__
        if "settle" in cls.__dict__:
            cls.settles = True

    def forward(self, parts: Parts) -> Tensor:
        """Thresholds of this step's parts; updates the statistics."""
        raise TypeError(f"{type(self).__name__} must implement forward(parts)")

    @property
    def learns(self) -> bool:
        """Whether it has a state."""
        return any(True for _ in self.buffers())

    def host_thresholds(self, parts: HostParts) -> Numbers:
        """The same in few operations on CPU, (k,) or one number, where all norms are finite."""
        raise TypeError(f"{type(self).__name__} has no host_thresholds(parts)")

    def settle(self, parts: Parts, left: Tensor) -> None:
        """Learn which norms the parts were left with, (k,); called in steps that are not dropped.

        In a step that was made in few operations `host_settle` is called in its place.
        """
        raise TypeError(f"{type(self).__name__} has no settle(parts, left)")

    def host_settle(self, left: float) -> None:
        """The same for the only part on CPU, whose norm was finite."""
        raise TypeError(f"{type(self).__name__} has no host_settle(left)")

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        # Rows are made at the first step, so a fresh module has to take the stored shape, and the
        # stored dtype, which is that of the norms.
        for name, buffer in self.named_buffers(recurse=False):
            stored = state_dict.get(prefix + name)
            if isinstance(stored, Tensor) and stored.shape[1:] == buffer.shape[1:]:
                setattr(self, name, torch.empty_like(stored, device=buffer.device))
        super()._load_from_state_dict(state_dict, prefix, *rest)


class Fixed(Threshold):
    """A constant threshold (Mikolov 2012; Pascanu, Mikolov and Bengio 2013, arXiv:1211.5063).

    Examples:
        >>> import torch
        >>> from gradclip_core import ClipNorm, Fixed
        >>> ClipNorm(Fixed(1.0)).threshold  # the same as ClipNorm(1.0)
        Fixed(1.0)

    Raises ValueError unless `value` is a number > 0; inf measures and never clips.

    Args:
        value: the threshold, a number > 0; inf measures and never clips.
    """

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute; `value` may be another at any step, and is checked each time."""
        super().__setattr__(name, check_positive("threshold", value) if name == "value" else value)

    def forward(self, parts: Parts) -> Tensor:
        """The constant, 0-d."""
        return parts.norms.new_full((), self.value)

    def host_thresholds(self, parts: HostParts) -> float:
        """The constant."""
        return self.value

    def extra_repr(self) -> str:
        """The constant, for printing."""
        return f"{self.value}"


class Statistic(KeptRows, Threshold):
    """A threshold that keeps rows of numbers, one row for each part, from the first step on.

    A subclass declares each row in its constructor, calls `_allocate` first in `forward`, and
    writes with `_take`. Its arguments are attributes of the same name. Rows follow their parts:
    see `KeptRows`.
    """

    one_part_on_host = True

    def __init__(self) -> None:
        super().__init__()
        self._view = BufferView()

    def _declare(self, name: str, initial: float, *, width: int | None = None) -> None:
        """A buffer of `width` numbers (or one) for each part that begins as `initial`.

        An integer `initial` makes a buffer of integers.
        """
        dtype = torch.int64 if isinstance(initial, int) else torch.float64
        self._keep_rows(name, initial, dtype, width)
        self._view = BufferView(*self._initial)

    def _allocate(self, parts: Parts) -> None:
        """Give each part its row: the one that it had, or a new one.

        Raises ValueError where the number of parts has changed and nothing says which they are.
        """
        division = parts.partition
        if division is not self._division:
            held = sum((self._sizes or {}).values())
            if held and not division.keys and held != len(parts.norms):
                raise ValueError(
                    f"this threshold holds the history of {held} parts and was given "
                    f"{len(parts.norms)}; make one clipper for each set of parameters"
                )
            self._follow(division.sizes, parts.norms)
            self._division, self._kind = division, division.kind

    def _numbers(self) -> list[Any]:
        """The rows of the only part, on CPU, as arrays of numbers, in the order of declaration."""
        numbers = self._view.current(self._buffers)
        if not numbers:
            norms = torch.zeros(1, dtype=torch.float64, device="cpu")
            self._allocate(Parts(norms, norms > 0, _WHOLE, Gradients()))
            numbers = self._view(self._buffers)
        return numbers

    def _take(self, where: Tensor, **values: Tensor) -> None:
        """Give each named buffer its new value in the rows that `where` marks."""
        for name, value in values.items():
            setattr(self, name, torch.where(where, value, getattr(self, name)))

    def extra_repr(self) -> str:
        """The settings, for printing."""
        names = inspect.signature(type(self)).parameters
        return ", ".join(f"{name}={getattr(self, name)!r}" for name in names)


def as_threshold(name: str, value: object, others: str = "") -> Threshold:
    """Return `value` as a Threshold; raise ValueError naming the argument if it is none.

    others: what else is allowed, for the message.
    """
    if isinstance(value, Threshold):
        return value
    allowed = f"a number > 0{others} or a Threshold"
    if value is None:
        raise ValueError(f"{name} must be {allowed} (NoClip() clips nothing), got None")
    return Fixed(check_number(name, value, allowed, lambda number: number > 0))


# Which rule each threshold was given to.
_rules: weakref.WeakKeyDictionary[Threshold, weakref.ref[nn.Module]] = weakref.WeakKeyDictionary()


def claimed(threshold: Threshold, rule: nn.Module) -> Threshold:
    """Return the threshold; warn if it has a state and another rule, which still lives, has it."""
    held = _rules.get(threshold)
    other = None if held is None else held()
    if other is not None and threshold.learns:
        warnings.warn(
            f"this {type(threshold).__name__} is the threshold of another {type(other).__name__}, "
            "so that the norms of both make one history: give each its own "
            "(copy.deepcopy(threshold))",
            UserWarning,
            stacklevel=2,
        )
    _rules[threshold] = weakref.ref(rule)
    return threshold


def thresholds_of(threshold: Threshold, parts: Parts) -> Tensor:
    """The threshold of each part, (k,).

    Raises TypeError or ValueError for what is none from a threshold of the user's own; a value
    that is not > 0 is looked for on CPU, where it is not on a device that would have to wait.
    """
    values, number = threshold(parts), len(parts.norms)
    name = type(threshold).__name__
    if not isinstance(values, Tensor):
        raise TypeError(f"{name}.forward must return a tensor, () or (k,), got {values!r}")
    if values.numel() not in (1, number):
        raise ValueError(
            f"{name}.forward must return one threshold or {number}, got {tuple(values.shape)}"
        )
    if values.is_cpu and not threshold.on_host:
        wrong = ~(values > 0) & parts.usable
        if wrong.any():
            bad = values.expand(number)[wrong][0].item()
            raise ValueError(f"{name}.forward must return thresholds > 0, got {bad}")
    return values.expand(number)
