"""What single values of a configuration may be, as types that pydantic checks."""

from __future__ import annotations

import os
from typing import Annotated, Any

from pydantic import BeforeValidator, StrictBool

_MOST_PROCESSES = max(16, 2 * (os.cpu_count() or 1))


def whole(value: Any, least: int, most: int | None = None) -> int:
    """The value if it is an integer in a range; ValueError otherwise."""
    if type(value) is not int or value < least or (most is not None and value > most):
        limits = f">= {least}" if most is None else f"from {least} to {most}"
        raise ValueError(f"must be an integer {limits}")
    return value


def in_range(least: int, most: int | None = None) -> BeforeValidator:
    """What checks that a value is an integer in a range."""
    return BeforeValidator(lambda value: whole(value, least, most))


def _share_or_count(value: Any) -> Any:
    """A part of the batches: a number of them, or a share."""
    if (type(value) is int and value >= 1) or (type(value) is float and 0 < value <= 1):
        return value
    raise ValueError("must be an integer >= 1 or a share > 0 and <= 1.0")


def _steps(value: Any) -> Any:
    if type(value) is int and (value == -1 or value >= 1):
        return value
    raise ValueError("must be an integer >= 1, or -1 for no limit")


def _devices(value: Any) -> Any:
    if value == "auto" or (type(value) is int and 1 <= value <= _MOST_PROCESSES):
        return value
    if isinstance(value, list) and value and all(type(x) is int and x >= 0 for x in value):
        return value
    raise ValueError(f"must be an integer from 1 to {_MOST_PROCESSES}, auto, or a list of numbers")


def _set_by_gradclip(value: Any) -> Any:
    raise ValueError("is set by gradclip; leave it out")


def _folder(value: Any) -> Any:
    named = isinstance(value, (str, int, float)) and not isinstance(value, bool)
    if value is None or (named and str(value).strip()):
        return value
    raise ValueError("must be the name of a folder or file")


def _id(value: Any) -> Any:
    if value is None or type(value) in (int, str):
        return value
    raise ValueError("must be a whole number or a word")


Place = Annotated[Any, BeforeValidator(_folder)]
Part = Annotated[Any, BeforeValidator(_share_or_count)]
NotHere = Annotated[Any, BeforeValidator(_set_by_gradclip)]
Steps = Annotated[Any, BeforeValidator(_steps)]
Devices = Annotated[Any, BeforeValidator(_devices)]
Id = Annotated[Any, BeforeValidator(_id)]
Flag = StrictBool
