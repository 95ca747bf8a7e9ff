"""State of the size of the parameters: one tensor for each of them, kept in the checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from gradclip_core.parts.gradients import Gradients
from gradclip_core.parts.rows import row_index
from gradclip_core.parts.sharding import local


class PerParameter(nn.Module):
    """A tensor of zeros for each parameter that ever has a gradient, from then on.

    On the parameter's device and in its dtype, in float32 beside half precision; of a DTensor for
    the local shard. Of a sparse gradient only the rows that it holds are read and written. Loads
    with any number of tensors.
    """

    def read(self, gradients: Gradients) -> list[Tensor]:
        """What belongs to each gradient, in their order and of their shapes: not a copy.

        Raises ValueError if the parameters are others than before.
        """
        kept = []
        for position, grad in zip(gradients.present, gradients.grads, strict=True):
            whole, rows = self._of(position, gradients), self._rows(position, gradients, grad)
            kept.append(whole if rows is None else whole[rows])
        return kept

    def write(self, gradients: Gradients, values: Sequence[Tensor]) -> None:
        """Keep new values, in the order and of the shapes of the gradients."""
        triples = zip(gradients.present, gradients.grads, values, strict=True)
        for position, grad, value in triples:
            whole, rows = self._of(position, gradients), self._rows(position, gradients, grad)
            if rows is None:
                whole.copy_(value)
            else:
                whole.index_copy_(0, rows, value)

    def _of(self, position: int, gradients: Gradients) -> Tensor:
        param, name = local(gradients.params[position].detach()), str(position)
        kept = self._buffers.get(name)
        if kept is None:
            half = param.dtype in (torch.float16, torch.bfloat16)
            kept = torch.zeros_like(param, dtype=torch.float32 if half else None)
            self.register_buffer(name, kept)
        elif kept.shape != param.shape:
            raise ValueError(
                f"this clipper holds a tensor of shape {tuple(kept.shape)} for "
                f"{gradients.name(position)}; make one clipper for each set of parameters"
            )
        elif kept.device != param.device:
            kept = kept.to(param.device)
            self.register_buffer(name, kept)
        return kept

    def _rows(self, position: int, gradients: Gradients, grad: Tensor) -> Tensor | None:
        given = gradients.params[position].grad
        sparse = given is not None and given.layout is torch.sparse_coo
        return row_index(gradients, position, grad) if sparse else None

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        self._buffers.clear()
        for key, stored in state_dict.items():
            name = key.removeprefix(prefix)
            if key.startswith(prefix) and name.isdigit():
                self.register_buffer(name, torch.empty_like(stored))
        super()._load_from_state_dict(state_dict, prefix, *rest)
