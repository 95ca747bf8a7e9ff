"""Turning configuration nodes into objects, with every mistake named in one line."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import Any, Unpack, get_args, get_origin, get_type_hints

import hydra.utils
from hydra.errors import InstantiationException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.errors import PydanticSchemaGenerationError, PydanticUserError

from apps.cli.former_keys import present_key
from apps.errors import UserError
from data_scripts.manifest import DataError


def instantiate(config: DictConfig, key: str, **arguments: Any) -> Any:
    """Build the object that `config.<key>` describes by `_target_`.

    Values are checked against the annotations of the target first. Raises UserError naming the
    key, the value and what is allowed.
    """
    try:
        node = OmegaConf.select(config, key, throw_on_missing=True)
        plain = node
        if OmegaConf.is_config(node):
            plain = OmegaConf.to_container(node, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise UserError(f"{error.full_key or key}: {str(error).splitlines()[0]}") from error
    if not _describes(plain):
        raise UserError(f"{key}: describes no object: it has no _target_")
    _check(key, plain)
    try:
        return hydra.utils.instantiate(plain, **arguments, _convert_="all")
    except InstantiationException as error:
        cause = error.__cause__
        if isinstance(cause, (UserError, DataError)):
            raise UserError(str(cause)) from error
        if isinstance(cause, (ValueError, TypeError)):
            raise UserError(f"{key}: {cause}") from error
        raise UserError(f"{key}: {str(error).splitlines()[0]}") from error


def whole_number(config: DictConfig, key: str, least: int, most: int | None = None) -> int:
    """The integer that `config.<key>` is; UserError if it is none or out of range."""
    value = OmegaConf.select(config, key)
    if (
        isinstance(value, bool)
        or not isinstance(value, int)
        or not least <= value <= (value if most is None else most)
    ):
        limits = f">= {least}" if most is None else f"from {least} to {most}"
        raise UserError(f"{key}={value}: must be an integer {limits}")
    return value


def _describes(node: Any) -> bool:
    """Whether a node describes an object, or a mapping of names to objects."""
    return isinstance(node, Mapping) and (
        "_target_" in node or all(isinstance(value, Mapping) for value in node.values())
    )


def _check(key: str, node: Any) -> None:
    """Check the values of a `_target_` node, and of those inside it, against annotations."""
    for name, value in _entries(node):
        _check(f"{key}.{name}", value)
    if not isinstance(node, Mapping) or "_target_" not in node:
        return
    target = _target(key, node["_target_"])
    _check_names(key, node, target)
    for name, parameter in _parameters(target).items():
        if name in node and not _holds_objects(node[name]):
            _check_value(f"{key}.{name}", node[name], parameter)


def _check_names(key: str, node: Mapping[str, Any], target: Any) -> None:
    """UserError for a key that is no argument of the target, where those are known."""
    try:
        known = inspect.signature(target).parameters
    except (ValueError, TypeError):  # of code that is not Python
        return
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in known.values()):
        return
    for name in node:
        if name in known or name.startswith("_"):
            continue
        present = present_key(node["_target_"], name)
        hint = f"it is called {present} now" if present != name else f"known: {', '.join(known)}"
        raise UserError(f"{key}.{name}: no such key here; {hint}")


def _entries(node: Any) -> Iterable[tuple[Any, Any]]:
    if isinstance(node, Mapping):
        return node.items()
    return enumerate(node) if isinstance(node, list) else ()


def _holds_objects(node: Any) -> bool:
    """Whether a value is an object to be built, or a list or mapping with one in it."""
    described = isinstance(node, Mapping) and "_target_" in node
    return described or any(_holds_objects(value) for _, value in _entries(node))


def _target(key: str, path: str) -> Any:
    try:
        return hydra.utils.get_object(path)
    except Exception as error:
        raise UserError(f"{key}._target_={path}: {str(error).splitlines()[0]}") from error


def _parameters(target: Any) -> Mapping[str, Any]:
    """The annotations of a target's arguments, those of a `**settings: Unpack[...]` too."""
    try:
        found = inspect.get_annotations(
            target.__init__ if inspect.isclass(target) else target, eval_str=True
        )
        for annotation in list(found.values()):
            if get_origin(annotation) is Unpack:
                found |= get_type_hints(*get_args(annotation))
    except (NameError, TypeError):  # annotations that only a type checker can resolve
        return {}
    return found


def _check_value(key: str, value: Any, annotation: Any) -> None:
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(
            annotation, config=ConfigDict(arbitrary_types_allowed=True)
        )
    except (PydanticSchemaGenerationError, PydanticUserError):
        return
    try:
        adapter.validate_python(value)
    except ValidationError as error:
        wanted = "; ".join(dict.fromkeys(item["msg"] for item in error.errors()))
        raise UserError(f"{key}={value!r}: {wanted}") from error
