"""Turning configuration nodes into objects, with every mistake named in one line."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import inspect
from collections.abc import Iterable, Mapping
from dataclasses import is_dataclass
from types import UnionType
from typing import Any, Union, Unpack, get_args, get_origin, get_type_hints

import hydra.utils
from hydra.errors import InstantiationException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.errors import PydanticSchemaGenerationError, PydanticUserError

from apps.cli.former_keys import present_key
from apps.cli.values import whole
from apps.errors import UserError
from data_scripts.manifest import DataError


def instantiate(config: DictConfig, key: str, kind: type | None = None, **arguments: Any) -> Any:
    """Build the object that `config.<key>` describes by `_target_`, or a mapping of objects.

    Values are checked against the annotations of the target first. kind: what is built must be
    one, or build one where it is partial. Raises UserError naming the key, the value and what is
    allowed.
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
    nodes = {key: plain} if "_target_" in plain else {f"{key}.{k}": v for k, v in plain.items()}
    for name, described in nodes.items():
        _check_made(name, described.get("_target_"), kind)
    _check(key, plain)
    try:
        built = hydra.utils.instantiate(plain, **arguments, _convert_="all")
    except InstantiationException as error:
        raise UserError(_told(key, error)) from error
    for name, thing in zip(nodes, [built] if key in nodes else built.values(), strict=True):
        _check_built(name, nodes[name].get("_target_"), thing, kind)
    return built


def _told(key: str, error: InstantiationException) -> str:
    """What made a class refuse its arguments, in one line."""
    cause = error.__cause__
    if isinstance(cause, (UserError, DataError)):
        return str(cause)
    if isinstance(cause, (ValueError, TypeError)):
        return f"{key}: {cause}"
    if cause is None:
        return f"{key}: {str(error).splitlines()[0]}"
    first = str(cause).partition("\n")[0]
    return f"{key}: {first or type(cause).__name__}"


def _check_made(key: str, name: Any, kind: type | None) -> None:
    """UserError for a class of another kind; what a function makes is seen when it is made."""
    made = None if name is None else _target(key, name)
    if kind is not None and inspect.isclass(made) and not issubclass(made, kind):
        raise UserError(_other_kind(key, name, kind))


def _check_built(key: str, name: Any, built: Any, kind: type | None) -> None:
    # What a partial function makes is seen when it is called.
    if kind is not None and not isinstance(built, (kind, functools.partial)):
        raise UserError(_other_kind(key, name, kind))


def _other_kind(key: str, name: Any, kind: type) -> str:
    return f"{key}._target_={name}: must be a kind of {kind.__module__}.{kind.__name__}"


def whole_number(config: DictConfig, key: str, least: int, most: int | None = None) -> int:
    """The integer that `config.<key>` is; UserError if it is none or out of range."""
    value = OmegaConf.select(config, key)
    try:
        return whole(value, least, most)
    except ValueError as error:
        raise UserError(f"{key}={value}: {error}") from error


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
    for name in node:
        if str(name).startswith("_") and name not in ("_target_", "_partial_"):
            raise UserError(
                f"{key}.{name}: no such key; allowed beside settings: _target_, _partial_"
            )
    if not isinstance(node.get("_partial_", False), bool):  # 1 equals True, and Hydra minds
        raise UserError(f"{key}._partial_={node['_partial_']!r}: must be true or false")
    target = _target(key, node["_target_"])
    _check_names(key, node, target)
    for name, parameter in _parameters(target).items():
        if name in node and _is_object(node[name]):
            _check_class(f"{key}.{name}", node[name]["_target_"], parameter)
        elif name in node:
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
    return _is_object(node) or any(_holds_objects(value) for _, value in _entries(node))


def _is_object(node: Any) -> bool:
    return isinstance(node, Mapping) and "_target_" in node


def _check_class(key: str, path: Any, annotation: Any) -> None:
    """UserError for an object inside another, of a class that the other does not take."""
    made = _target(key, path)
    taken = get_args(annotation) or (annotation,)
    if not inspect.isclass(made) or not all(inspect.isclass(kind) for kind in taken):
        return
    if not issubclass(made, taken):
        names = " or ".join(kind.__name__ for kind in taken if kind is not type(None))
        raise UserError(f"{key}._target_={path}: must be a kind of {names}")


def _target(key: str, path: Any) -> Any:
    """The class or function of a name; a class within a class is found as well."""
    try:
        found = _located(str(path).split("."))
    except Exception as error:  # a module can fail in any way while it is imported
        first = str(error).partition("\n")[0]
        raise UserError(f"{key}._target_={path}: cannot be imported: {first}") from error
    if not callable(found):
        raise UserError(f"{key}._target_={path}: no such class")
    return found


def _located(parts: list[str]) -> Any:
    """What has a dotted name, in a module or in a class; None if there is nothing."""
    found, module = None, ""
    for number, part in enumerate(parts):
        module = f"{module}.{part}" if number else part
        inner = getattr(found, part, None)
        is_package = number == 0 or hasattr(found, "__path__")
        if inner is None and is_package and part and importlib.util.find_spec(module):
            inner = importlib.import_module(module)
        if inner is None:
            return None
        found = inner
    return found


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
    several = get_origin(annotation) in (Union, UnionType)  # and not what a list or mapping holds
    kinds = get_args(annotation) if several else (annotation,)
    made = any(inspect.isclass(kind) and is_dataclass(kind) for kind in kinds)
    if made and (not several or isinstance(value, Mapping)):  # pydantic would make one of it
        raise UserError(f"{key}={value}: describes no object: it has no _target_")
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(
            annotation, config=ConfigDict(arbitrary_types_allowed=True)
        )
    except (PydanticSchemaGenerationError, PydanticUserError):
        return
    # Objects to be built are checked where they stand; here whether there may be several.
    plain = type(value)() if _holds_objects(value) else value
    try:
        taken = adapter.validate_python(plain)
    except ValidationError as error:
        wanted = "; ".join(dict.fromkeys(item["msg"] for item in error.errors()))
        raise UserError(f"{key}={value!r}: {wanted}") from error
    if _is_converted(plain, taken):
        raise UserError(f"{key}={value!r}: Input should be {type(taken).__name__}")


def _is_converted(given: Any, taken: Any) -> bool:
    """Whether pydantic has made a number of a text, or one of these of true and false."""
    if isinstance(given, list) and isinstance(taken, (list, tuple)):
        return any(map(_is_converted, given, taken))
    if isinstance(given, bool) or isinstance(taken, bool):
        return type(given) is not type(taken)
    return isinstance(given, str) and isinstance(taken, (int, float))
