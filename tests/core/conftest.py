"""What the tests of gradclip_core share: parameters that hold given gradients, quiet Trainers."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gradclip_core.parts import native
from gradclip_core.stepping import fused_scale

os.environ.setdefault("KERAS_BACKEND", "torch")
os.environ.setdefault("JAX_PLATFORMS", "cpu")


def _holding(*grads: Tensor) -> list[nn.Parameter]:
    params = [nn.Parameter(torch.zeros_like(grad)) for grad in grads]
    for param, grad in zip(params, grads, strict=True):
        param.grad = grad.clone()
    return params


def _trainer(**settings: Any) -> Any:
    import lightning.pytorch as pl

    quiet = {
        "accelerator": "cpu",
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "log_every_n_steps": 1,
        "max_epochs": 1,
    }
    return pl.Trainer(**(quiet | settings))


@pytest.fixture(autouse=True)
def folding_of_few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fold however few elements there are, so that small networks show it."""
    monkeypatch.setattr(fused_scale, "LEAST", 0)


@pytest.fixture(scope="module", params=["compiled", "pytorch"])
def either_way(request: pytest.FixtureRequest) -> Iterator[None]:
    """Run a module's tests with the compiled kernel, and again without it."""
    if request.param == "compiled":
        if not native.available():
            pytest.skip("needs a C compiler")
        yield
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(native, "library", lambda: None)
        yield


@pytest.fixture(scope="session")
def holding() -> Callable[..., list[nn.Parameter]]:
    """Make one parameter for each tensor, with a copy of that tensor as its gradient."""
    return _holding


@pytest.fixture(scope="session")
def trainer() -> Callable[..., Any]:
    """Make a Trainer for one epoch on the CPU that prints and writes nothing."""
    return _trainer
