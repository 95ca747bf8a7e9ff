"""Rows of numbers that follow what they are kept for, wherever that stands in a later step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Self

import torch
from torch import Tensor

from gradclip_core.parts.keys import are_numbers, packed, unpacked
from gradclip_core.parts.partition import WHOLE
from gradclip_core.short_help import ShortHelpModule

_PARTS = "parts"


class KeptRows(ShortHelpModule):
    """Buffers with some rows for each key: a part of the gradient, or a parameter.

    `_follow` puts the rows into the order of the keys of a step: known ones carry theirs over, new
    ones begin anew, and those of keys that are away are kept until they come back. The state holds
    all of them, and under `parts` whose they are. One of before that, without, is loaded by
    position.
    """

    def __init__(self) -> None:
        super().__init__()
        self._initial: dict[str, float] = {}
        self._sizes: dict[str, int] | None = {}  # rows of each key; None: of keys not known yet
        self._away: dict[str, dict[str, Tensor]] = {}
        self._kind: str | None = None  # what the keys are of
        self._division: object = None  # what the rows are arranged for

    def _keep_rows(
        self, name: str, initial: float, dtype: torch.dtype, width: int | None = None
    ) -> None:
        """A buffer of `width` numbers (or one) for each row, which begins as `initial`."""
        shape = (0,) if width is None else (0, width)
        self.register_buffer(name, torch.zeros(shape, dtype=dtype, device="cpu"))
        self._initial[name] = initial

    def _follow(self, sizes: Mapping[str, int], like: Tensor) -> None:
        """Arrange so many rows for each key, in this order; new ones are like this tensor.

        Raises ValueError for rows that are another number than a key had, or of keys not known.
        """
        held = self._recognised(sizes)
        if list(held.items()) != list(sizes.items()):
            rows = self._by_key(held) | self._away
            kept = {key: rows.pop(key, {}) or self._new(n, like) for key, n in sizes.items()}
            for key, number in sizes.items():
                found = len(next(iter(kept[key].values())))
                if found != number:
                    raise ValueError(
                        f"this threshold holds {found} rows of {key} and was given {number}; make "
                        "one clipper for each set of parameters"
                    )
            for name in self._initial:
                pieces = [piece[name] for piece in kept.values()]
                setattr(self, name, torch.cat(pieces) if pieces else getattr(self, name)[:0])
            self._away = rows
            self._rearranged()
        self._sizes = dict(sizes)

    def _recognised(self, sizes: Mapping[str, int]) -> dict[str, int]:
        """The sizes of what is held, under keys like those that are wanted."""
        held, total = self._sizes, len(getattr(self, next(iter(self._initial))))
        if held is None and total == sum(sizes.values()):
            return dict(sizes)
        if held is None:
            held = {str(i): 1 for i in range(total)}
        if not held or (held.keys() | self._away.keys()) & sizes.keys():
            return held
        if are_numbers(held) == are_numbers(sizes):
            return held
        if list(held.values()) != list(sizes.values()):
            raise ValueError(
                f"this threshold holds the history of {len(held)} parts, which had "
                f"{'no' if are_numbers(held) else 'other'} names, and was given {len(sizes)}; make "
                "one clipper for each set of parameters"
            )
        return dict(sizes)

    def _by_key(self, held: Mapping[str, int]) -> dict[str, dict[str, Tensor]]:
        pieces = {n: torch.split(getattr(self, n), list(held.values())) for n in self._initial}
        return {key: {n: pieces[n][i] for n in pieces} for i, key in enumerate(held)}

    def _new(self, number: int, like: Tensor) -> dict[str, Tensor]:
        rows = {}
        for name, initial in self._initial.items():
            buffer: Tensor = getattr(self, name)
            dtype = like.dtype if buffer.is_floating_point() else buffer.dtype
            rows[name] = like.new_full((number, *buffer.shape[1:]), initial, dtype=dtype)
        return rows

    def _rearranged(self) -> None:
        """Forget what was made of the rows: they are others now, or elsewhere."""

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        self._rearranged()
        self._away = {k: {n: fn(rows) for n, rows in v.items()} for k, v in self._away.items()}
        return super()._apply(fn, recurse)  # type: ignore[no-untyped-call, no-any-return]

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        sizes = dict(self._sizes or {})
        for key, rows in self._away.items():
            for name, away in rows.items():
                whole = torch.cat([destination[prefix + name], away])
                destination[prefix + name] = whole
                sizes[key] = len(away)
        if sizes.keys() - {WHOLE}:
            destination[prefix + _PARTS] = packed({"by": self._kind, "rows": sizes})

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        self._rearranged()
        parts = unpacked(state_dict.pop(prefix + _PARTS, None))
        self._sizes = None if parts is None else parts["rows"]
        self._kind = None if parts is None else parts["by"]
        self._away, self._division = {}, None
        super()._load_from_state_dict(state_dict, prefix, *rest)


def refuse_other_kind(state_dict: Mapping[str, Any], prefix: str, kind: str) -> list[str]:
    """What is wrong with a state whose rows were kept for parts of another kind than this."""
    wrong = []
    for key, stored in state_dict.items():
        if key.startswith(prefix) and key.endswith(f".{_PARTS}") and stored.dtype is torch.uint8:
            held = (unpacked(stored) or {}).get("by")
            if held not in (kind, None):
                name = key.removeprefix(prefix)
                wrong.append(f"{name} were made by {held!r}, and are by {kind!r} here")
    return wrong
