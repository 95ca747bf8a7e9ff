"""Checks of arguments: each error is one line with the name, the value and what is allowed."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

Kind = TypeVar("Kind", bound=type)


def plain_number(value: Any) -> Any:
    """A number of NumPy, or a tensor or array of no dimensions, as Python's; others as they are."""
    if getattr(value, "ndim", None) != 0 or getattr(value, "is_meta", False):
        return value
    return value.item()


def check_number(name: str, value: object, allowed: str, holds: Callable[[float], bool]) -> float:
    """Return `value` as a float; raise ValueError unless it is a number for which `holds`.

    Numbers of NumPy and tensors of no dimensions are numbers, here and below.
    """
    number = plain_number(value)
    if isinstance(number, bool) or not isinstance(number, (int, float)) or not holds(number):
        raise ValueError(f"{name} must be {allowed}, got {value!r}")
    return float(number)


def check_positive(name: str, value: float) -> float:
    """Return `value` as a float; raise ValueError unless it is a number > 0 (inf is)."""
    return check_number(name, value, "a number > 0", lambda number: number > 0)


def check_finite(name: str, value: float) -> float:
    """Return `value` as a float; raise ValueError unless it is a finite number > 0."""
    allowed = "a finite number > 0"
    return check_number(name, value, allowed, lambda number: 0 < number < math.inf)


def check_decay(name: str, value: float) -> float:
    """Return `value` as a float; raise ValueError unless 0 <= value < 1."""
    return check_number(name, value, "a number >= 0 and < 1", lambda number: 0 <= number < 1)


def check_integer(name: str, value: int, least: int = 1, others: str = "") -> int:
    """Return `value` as an int; raise ValueError unless it is an integer >= `least`.

    others: what else the caller allows, for the message.
    """
    number = plain_number(value)
    if isinstance(number, bool) or not isinstance(number, int) or number < least:
        raise ValueError(f"{name} must be an integer >= {least}{others}, got {value!r}")
    return number


def check_flag(name: str, value: object) -> bool:
    """Return `value`; raise ValueError unless it is True or False."""
    if not isinstance(value, bool):
        raise ValueError(f"{name} must be True or False, got {value!r}")
    return value


def check_choice(name: str, value: str, allowed: tuple[str, ...]) -> str:
    """Return `value`; raise ValueError unless it is one of `allowed`."""
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {value!r}")
    return value


def type_name(value: object) -> str:
    """What a value is, for a message: the name of its type, or the class that it is."""
    return f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__


def check_instance(name: str, value: object, kind: type) -> None:
    """Raise TypeError for what is none of this kind, such as a class in place of an object."""
    if not isinstance(value, kind):
        raise TypeError(f"{name} must be a {kind.__name__}, got {type_name(value)}")


def takes(function: Callable[..., Any], args: Sequence[Any], settings: Mapping[str, Any]) -> bool:
    """Whether a function can be called with these arguments."""
    try:
        inspect.signature(function).bind(*args, **settings)
    except TypeError:
        return False
    return True


def refuse_former_names(kind: type, present: Mapping[str, str]) -> None:
    """Raise TypeError for a class that defines an attribute or method by a former name."""
    for former in present.keys() & vars(kind).keys():
        raise TypeError(f"{kind.__name__}.{former} has no meaning: it is {present[former]} now")


def renamed_arguments(**present: str) -> Callable[[Kind], Kind]:
    """For a class: an argument given by a former name raises a TypeError with its present one."""

    def decorate(kind: Kind) -> Kind:
        init: Any = kind.__init__  # type: ignore[misc]

        @functools.wraps(init)
        def checked(self: Any, *args: Any, **settings: Any) -> None:
            for former in present.keys() & settings.keys():
                raise TypeError(
                    f"{kind.__name__} has no argument {former!r}: it is called "
                    f"{present[former]!r} now"
                )
            init(self, *args, **settings)

        kind.__init__ = checked  # type: ignore[misc]
        kind.former_arguments = present  # type: ignore[attr-defined]
        return kind

    return decorate
