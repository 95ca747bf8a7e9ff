"""Collecting the gradients of one optimizer step from whatever the caller holds."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import attrgetter
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from gradclip_core.parts import native, sharding
from gradclip_core.parts.gradients import Gradients, HandedOn, Named, Parameters
from gradclip_core.parts.names import plain_names
from gradclip_core.parts.usable import all_usable, check_kind, check_together, usable

_NOTHING = (
    "there are no parameters, so that no gradient is clipped; a generator is used up after one "
    "call: pass the model, or a list"
)
_grad = attrgetter("grad")
_PLAIN, _PARAMETERS = {Tensor}, {Tensor, nn.Parameter}
_SOME = {Tensor, type(None)}


def collect(parameters: Parameters) -> Gradients:
    """The gradients as operations of PyTorch may write them; see `collect_for_kernel`."""
    return for_pytorch(collect_for_kernel(parameters))


def for_pytorch(found: Gradients) -> Gradients:
    """The same with inference tensors, to which only the kernel writes, as plain ones."""
    if found.located is None or not any(map(Tensor.is_inference, found.grads)):
        return found
    bare = Gradients(found.params, found.names, found.groups)
    return _collect_each(bare, list(map(_grad, found.params)))


def collect_for_kernel(parameters: Parameters) -> Gradients:
    """Gather the gradients of a model, an optimizer, its parameter groups or plain parameters.

    Accepts a module, an optimizer, one tensor, or an iterable of tensors, of `(name, tensor)`
    pairs (`model.named_parameters()`) or of parameter groups (`{"params": [...]}`). A parameter
    that occurs several times counts once. Sparse gradients are coalesced in place, and a
    conjugation or negation that waits is done; empty gradients count as absent. Of DTensors the
    local shard is taken.

    Warns where there is no parameter at all, as from a generator that is used up. Raises TypeError
    for anything else, for tensors that have no gradient and cannot get one, and for gradients whose
    numbers cannot be reached; ValueError for those that cannot be clipped where they are (see
    `gradclip_core.parts.usable`).
    """
    params, names, groups = _listed(parameters)
    if not params and not isinstance(parameters, HandedOn):
        warnings.warn(_NOTHING, UserWarning, stacklevel=2)
    grads: list[Any] = list(map(_grad, params))
    present: Sequence[int] = range(len(params))
    held = grads
    kinds: set[Any] = set(map(type, grads))
    if kinds == _SOME and _may_wait(params):
        present = [position for position, grad in enumerate(grads) if grad is not None]
        held, kinds = [grads[position] for position in present], _PLAIN
    plain = kinds == _PLAIN
    located = native.locate(held) if plain else None
    # Where no two gradients share memory, no parameter with one occurs twice.
    unsure = located is None or len(held) < len(params)
    if unsure and len(set(map(id, params))) < len(params):
        params, names, groups = _distinct(params, names, groups)
        return _collect_each(Gradients(params, names, groups), list(map(_grad, params)))
    if located is not None or (plain and all_usable(held)):
        return Gradients(params, names, groups, present, held, [], True, located)
    return _collect_each(Gradients(params, names, groups), grads)


@torch.no_grad()
def _collect_each(found: Gradients, grads: list[Any]) -> Gradients:
    if any(map(is_lazy, found.params)):
        found, grads = _made(found)
    present = []
    for position, (param, grad) in enumerate(zip(found.params, grads, strict=True)):
        if grad is None:
            _check_can_have(param, position)
            continue
        if not sharding.is_sharded(param):
            check_kind(grad, found.name(position))
        if grad.numel() == 0:
            continue
        if grad.layout is torch.sparse_coo:
            param.grad = grad.coalesce()
            grad = param.grad._values()
            if grad.numel() == 0:
                continue
        if grad.is_conj() or grad.is_neg():  # not yet done: many operations refuse such tensors
            param.grad = grad = grad.resolve_conj().resolve_neg()
        present.append(position)
        found.grads.append(grad)
    found.present = present
    return _checked(sharding.localize(found))


def _made(found: Gradients) -> tuple[Gradients, list[Any]]:
    """The same without the parameters of lazy layers that were not called yet: they lack a shape.

    And the gradients.
    """
    entries = zip(found.params, found.names, found.groups, strict=True)
    made = Gradients()
    for param, name, group in entries:
        if not is_lazy(param):
            made.params.append(param)
            made.names.append(name)
            made.groups.append(group)
    return made, list(map(_grad, made.params))


def _checked(found: Gradients) -> Gradients:
    """The same with gradients that may be written, each for itself; shards are as DTensors are."""
    own = [i for i, p in enumerate(found.present) if not found.layouts or not found.layouts[p]]
    names = [found.name(found.present[i]) for i in own]
    for i, name in zip(own, names, strict=True):
        found.grads[i] = usable(found.grads[i], name)
    check_together([found.grads[i] for i in own], names)
    return found


def _check_can_have(param: Tensor, position: int) -> None:
    """Raise TypeError for a tensor that no backward pass gives a gradient; parameters may wait."""
    if isinstance(param, nn.Parameter) or (param.requires_grad and param.is_leaf):
        return
    if not param.retains_grad:
        why = "is the result of an operation" if param.requires_grad else "requires none"
        raise TypeError(
            f"tensor {position} of shape {tuple(param.shape)} has no gradient and cannot get one, "
            f"since it {why}: pass the parameters, not their values or gradients"
        )


def _may_wait(params: list[Tensor]) -> bool:
    """Whether all are ordinary parameters, which may be without a gradient."""
    return set(map(type, params)) == {nn.Parameter}


_Listed: TypeAlias = tuple[list[Tensor], list[str | None], list[int]]


def _listed(parameters: Parameters) -> _Listed:
    """The parameters that the caller handed in, with their names and groups."""
    if type(parameters) is list and set(map(type, parameters)) <= _PARAMETERS:
        return list(parameters), [None] * len(parameters), [0] * len(parameters)
    if isinstance(parameters, nn.Module):
        pairs = list(parameters.named_parameters())
        of_module = plain_names([name for name, _ in pairs], parameters)
        return [param for _, param in pairs], [*of_module], [0] * len(pairs)
    if isinstance(parameters, Iterator):
        parameters = list(parameters)
        return _listed(parameters)
    if type(parameters) is list and _are_pairs(parameters):
        names, held = zip(*parameters, strict=True)
        if set(map(type, names)) == {str} and set(map(type, held)) <= _PARAMETERS:
            return list(held), [*plain_names(names)], [0] * len(held)
    entries = list(_walk(parameters))
    given = [e[1] for e in entries]
    if not isinstance(parameters, Named):
        plain = iter(plain_names([name for name in given if name is not None]))
        given = [None if name is None else next(plain) for name in given]
    return [e[2] for e in entries], given, [e[0] for e in entries]


def _are_pairs(entries: list[Any]) -> bool:
    return set(map(type, entries)) == {tuple} and set(map(len, entries)) == {2}


def _distinct(params: list[Tensor], names: list[str | None], groups: list[int]) -> _Listed:
    """Each parameter once, where it occurs first."""
    first = {id(param): i for i, param in reversed(list(enumerate(params)))}
    kept = sorted(first.values())
    return [params[i] for i in kept], [names[i] for i in kept], [groups[i] for i in kept]


def _walk(parameters: Parameters) -> Iterator[tuple[int, str | None, Tensor]]:
    """Yield (group index, name, parameter) for every parameter the caller handed in."""
    if isinstance(parameters, Tensor):
        yield 0, None, parameters
    elif isinstance(parameters, Mapping):
        raise _refused(parameters)
    elif isinstance(parameters, torch.optim.Optimizer):
        yield from _walk(parameters.param_groups)
    elif isinstance(parameters, Iterable):
        for index, entry in enumerate(parameters):
            if isinstance(entry, Tensor):
                yield 0, None, entry
            elif isinstance(entry, Mapping):
                yield from _walk_group(index, entry)
            else:
                yield 0, *_named(entry)
    else:
        why = "; call it" if inspect.ismethod(parameters) else ""
        raise TypeError(f"cannot take gradients from {type(parameters).__name__}: {_ALLOWED}{why}")


def _walk_group(index: int, group: Mapping[str, Any]) -> Iterator[tuple[int, str | None, Tensor]]:
    if "params" not in group:
        raise TypeError(
            f"parameter group {index} has no 'params', but {', '.join(map(str, group))}"
        )
    params = group["params"]
    params = [params] if isinstance(params, Tensor) else list(params)
    names = group.get("param_names") or [None] * len(params)
    if len(names) != len(params):
        raise ValueError(
            f"parameter group {index} has {len(params)} params and {len(names)} param_names"
        )
    for name, entry in zip(names, params, strict=True):
        if isinstance(entry, Tensor):
            yield index, name, entry
        else:
            yield index, *_named(entry)


def _named(entry: object) -> tuple[str, Tensor]:
    if (
        isinstance(entry, tuple)
        and len(entry) == 2
        and isinstance(entry[0], str)
        and isinstance(entry[1], Tensor)
    ):
        return entry
    raise _refused(entry)


def _refused(entry: object) -> TypeError:
    """The error for something that is no parameter, with what may have been meant."""
    meant = next((cure for kind, cure in _MEANT if isinstance(entry, kind)), "")
    if isinstance(entry, Mapping) and "params" in entry:
        meant = "; a parameter group goes into a list, [group]"
    return TypeError(f"cannot take a gradient from {type(entry).__name__}: {_ALLOWED}{meant}")


_MEANT: tuple[tuple[type, str], ...] = (
    (nn.Module, "; several modules go into a torch.nn.ModuleList"),
    (torch.optim.Optimizer, "; each optimizer takes a clipper of its own"),
    (Mapping, "; a mapping of names to tensors goes in as its items()"),
    (tuple, "; a pair is (name, tensor)"),
    (list, "; several lists go in as one, [*a, *b]"),
    (Iterator, "; several generators go in as one list, [*a, *b]"),
)
_ALLOWED = "pass a module, an optimizer, tensors, (name, tensor) pairs or parameter groups"
