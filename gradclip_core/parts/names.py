"""The names of parameters, without what wrappers put into them."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence

from torch import nn
from torch.optim.swa_utils import AveragedModel

# What torch.compile, activation checkpointing, FSDP1, FairScale and Fabric put into names.
_WRAPPERS = {
    "_orig_mod",
    "_checkpoint_wrapped_module",
    "_fsdp_wrapped_module",
    "_fpw_module",
    "_forward_module",
}
# Wrappers whose part of a name may as well be a user's: known by their type, or by what all
# names begin with. Those of other packages are known by the names of their classes.
_HOLDERS = (nn.parallel.DistributedDataParallel, nn.DataParallel, AveragedModel)
_FOREIGN_HOLDERS = {"AbstractGradSampleModule", "DeepSpeedEngine"}
_HELD = ("module", "_module")

# In a pattern, where it is a comment: there may be no parameter that it matches.
OPTIONAL = "(?#optional)"

_FIRST, _LAST = 8, 4  # names shown of many


def names_of(module: nn.Module) -> list[str]:
    """The plain names of a module's parameters, in the order of `named_parameters`.

    Raises TypeError for what is no module.
    """
    check_module(module)
    return plain_names([name for name, _ in module.named_parameters()], module)


def check_module(model: object) -> None:
    """Raise TypeError for what is no module and so has no names, such as an optimizer."""
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, got {type(model).__name__}")


def unnamed(setting: str, position: int) -> ValueError:
    """The error of a setting that goes by names where the parameter at this position has none."""
    return ValueError(
        f"{setting} needs parameter names: pass the model or model.named_parameters(), or attach "
        f"a model that holds every parameter (a ModuleDict of several); parameter {position} has "
        "no name"
    )


def plain_names(names: Sequence[str], module: nn.Module | None = None) -> list[str]:
    """The names that parameters have without any wrapper, whatever is wrapped in what.

    `module.` goes where it is that of DataParallel and its kind: below such a module, of which
    `module` holds the names, or where all names begin with it.
    """
    together = "\n".join(names)
    if "module" not in together and "_orig_mod" not in together:
        return list(names)
    held = set() if module is None else _held_in(module)
    plain = [_without(name, held) for name in names]
    for start in _leading(plain):
        plain = [name.removeprefix(start) for name in plain]
    return plain


def listed(names: Iterable[str | None]) -> str:
    """Names for an error message; of many the first and the last, where the usual ends are."""
    shown = [name for name in names if name is not None]
    if len(shown) > _FIRST + _LAST + 1:
        left_out = f"... ({len(shown) - _FIRST - _LAST} more) ..."
        shown = [*shown[:_FIRST], left_out, *shown[-_LAST:]]
    return ", ".join(shown)


def _held_in(module: nn.Module) -> set[str]:
    """The paths of what wrappers hold, which are no part of a name."""
    paths = set()
    for path, inner in module.named_modules():
        kinds = {kind.__name__ for kind in type(inner).__mro__}
        if isinstance(inner, _HOLDERS) or kinds & _FOREIGN_HOLDERS:
            paths |= {f"{path}.{held}" if path else held for held in _HELD}
    return paths


def _without(name: str, held: Container[str]) -> str:
    pieces = name.split(".")
    paths = (".".join(pieces[: i + 1]) for i in range(len(pieces)))
    kept = [p for p, path in zip(pieces, paths, strict=True) if path not in held]
    return ".".join(piece for piece in kept if piece not in _WRAPPERS)


def _leading(names: Sequence[str]) -> Iterable[str]:
    """What all names begin with and is a wrapper's, one wrapper after the other."""
    done = 0
    while names:
        first = names[0][done:].partition(".")
        start = f"{first[0]}."
        if first[0] not in _HELD or not all(name.startswith(start, done) for name in names):
            return
        yield start
        done += len(start)
