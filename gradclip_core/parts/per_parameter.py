"""State of the size of the parameters: one tensor for each of them, kept in the checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from gradclip_core.parts.gradients import Gradients
from gradclip_core.parts.keys import are_numbers, packed, unpacked
from gradclip_core.parts.rows import row_index
from gradclip_core.parts.sharding import local

_PLACES = "places"


class PerParameter(nn.Module):
    """A tensor of zeros for each parameter that ever has a gradient, from then on.

    On the parameter's device and in its dtype, in float32 beside half precision; of a DTensor for
    the local shard. Of a sparse gradient only the rows that it holds are read and written. Kept
    under the parameters' keys (`ParameterKeys`), by which tensors follow them; a state of before
    that is loaded by position.
    """

    def __init__(self) -> None:
        super().__init__()
        self._places: dict[str, str] = {}  # the buffer of each key

    def read(self, gradients: Gradients, keys: Sequence[str]) -> list[Tensor]:
        """What belongs to each gradient, in their order and of their shapes: not a copy.

        keys: those of the parameters. Raises ValueError if one had another shape before.
        """
        self._recognise(keys)
        kept = []
        for position, grad in zip(gradients.present, gradients.grads, strict=True):
            whole = self._of(position, gradients, keys[position])
            rows = self._rows(position, gradients, grad)
            kept.append(whole if rows is None else whole[rows])
        return kept

    def write(self, gradients: Gradients, keys: Sequence[str], values: Sequence[Tensor]) -> None:
        """Keep new values, in the order and of the shapes of the gradients."""
        triples = zip(gradients.present, gradients.grads, values, strict=True)
        for position, grad, value in triples:
            whole = self._of(position, gradients, keys[position])
            rows = self._rows(position, gradients, grad)
            if rows is None:
                whole.copy_(value)
            else:
                whole.index_copy_(0, rows, value)

    def _recognise(self, keys: Sequence[str]) -> None:
        """Give what was kept by position the names that parameters have now."""
        places = self._places
        by_position = places and are_numbers(places) and not places.keys() & set(keys)
        if by_position and all(int(key) < len(keys) for key in places):
            self._places = {keys[int(key)]: place for key, place in places.items()}

    def _of(self, position: int, gradients: Gradients, key: str) -> Tensor:
        param = local(gradients.params[position].detach())
        if key not in self._places:
            self._places[key] = str(1 + max(map(int, self._places.values()), default=-1))
        place = self._places[key]
        kept = self._buffers.get(place)
        if kept is None:
            half = param.dtype in (torch.float16, torch.bfloat16)
            kept = torch.zeros_like(param, dtype=torch.float32 if half else None)
            self.register_buffer(place, kept)
        elif kept.shape != param.shape:
            raise ValueError(
                f"this clipper holds a tensor of shape {tuple(kept.shape)} for "
                f"{gradients.name(position)}; make one clipper for each set of parameters"
            )
        elif kept.device != param.device:
            kept = kept.to(param.device)
            self.register_buffer(place, kept)
        return kept

    def _rows(self, position: int, gradients: Gradients, grad: Tensor) -> Tensor | None:
        given = gradients.params[position].grad
        sparse = given is not None and given.layout is torch.sparse_coo
        return row_index(gradients, position, grad) if sparse else None

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        # When there are none too: torch.distributed.checkpoint loads what a state holds, and would
        # pass by in silence what a new one had not.
        destination[prefix + _PLACES] = packed(self._places)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        self._buffers.clear()
        places = unpacked(state_dict.pop(prefix + _PLACES, None))
        for key, stored in state_dict.items():
            name = key.removeprefix(prefix)
            if key.startswith(prefix) and name.isdigit():
                self.register_buffer(name, torch.empty_like(stored))
        self._places = dict(places or {name: name for name in self._buffers})
        super()._load_from_state_dict(state_dict, prefix, *rest)
