"""What the functions of PyTorch do not take is told what was meant."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from gradclip_core import functional

NET = nn.Sequential(nn.Linear(2, 1))
CALLS: dict[str, Callable[[Any], Any]] = {
    "norm": lambda given: functional.clip_grad_norm_(given, 1.0),
    "value": lambda given: functional.clip_grad_value_(given, 1.0),
    "total": functional.get_total_norm,
    "scale": lambda given: functional.clip_grads_with_norm_(given, 1.0, torch.ones(())),
}
GIVEN: dict[str, tuple[Callable[[], Any], str]] = {
    "model": (lambda: NET, "Sequential"),
    "optimizer": (lambda: torch.optim.SGD(NET.parameters()), "SGD"),
    "names": (NET.named_parameters, "tuple"),
    "mapping": (NET.state_dict, "str"),
    "none": (lambda: [*NET.parameters(), None], "NoneType"),
}


@pytest.mark.parametrize("given", GIVEN)
@pytest.mark.parametrize("call", CALLS)
def test_it_is_refused_with_its_cure(call: str, given: str) -> None:
    make, kind = GIVEN[given]
    with pytest.raises(TypeError, match=rf"take tensors alone, got {kind}: pass model\.parameters"):
        CALLS[call](make())
