"""A loop that changes torch's default device or dtype, or makes a clipper in inference mode."""

from __future__ import annotations

import ast
import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import gradclip_core
from gradclip_core import (
    ByName,
    ClipNorm,
    Clipper,
    Clippy,
    ClipUpdate,
    ClipValue,
    NoiseAware,
    Percentile,
    PowerClip,
    RandomClip,
    Relative,
    SkipOnSpike,
    Spam,
    Spectra,
    StableSpam,
    StableUpdate,
    UClip,
    ZScore,
    chain,
    clip_in_step,
)
from gradclip_core.functional import clip_grad_norm_

RULES: dict[str, Callable[[], Clipper]] = {
    "norm": lambda: ClipNorm(0.1),
    "order 3": lambda: ClipNorm(0.1, norm_type=3.0),
    "spectral": lambda: ClipNorm(0.1, measure="spectral", by="parameter", response="soft_clamp"),
    "row": lambda: ClipNorm(Relative(0.01), by="row"),
    "rms": lambda: ClipNorm(0.01, measure="rms", by="parameter", response="huber"),
    "skip": lambda: ClipNorm(0.1, response="skip", max_skips=1),
    "percentile": lambda: ClipNorm(Percentile(50.0)),
    "scores": lambda: ClipNorm(ZScore(), by="parameter"),
    "noise": lambda: ClipNorm(NoiseAware()),
    "value": lambda: ClipValue(0.1),
    "power": lambda: PowerClip(0.1),
    "random": lambda: RandomClip(0.1),
    "spike": lambda: SkipOnSpike(loss=Percentile(50.0)),
    "update": lambda: ClipUpdate(0.01, per_lr=True),
    "stable": StableUpdate,
    "spectra": Spectra,
    "clippy": Clippy,
    "spam": lambda: Spam(1.0, warmup_steps=0),
    "stable spam": StableSpam,
    "carry": lambda: UClip(ClipNorm(0.1)),
    "chain": lambda: chain(ClipValue(0.5), ClipNorm(0.1)),
    "names": lambda: ByName({"bias": ClipValue(0.1)}, otherwise=ClipNorm(0.1)),
}


@contextmanager
def _half_by_default() -> Iterator[None]:
    torch.set_default_dtype(torch.bfloat16)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@contextmanager
def _elsewhere() -> Iterator[None]:
    # No number can be taken from meta: what is made there by mistake stops the step.
    with torch.device("meta"), _half_by_default():
        yield


@contextmanager
def _elsewhere_in_autocast() -> Iterator[None]:
    with _elsewhere(), torch.autocast("cpu", dtype=torch.bfloat16):
        yield


CONTEXTS: dict[str, Callable[[], Any]] = {
    "none": nullcontext,
    "elsewhere": _elsewhere,
    "elsewhere in autocast": _elsewhere_in_autocast,
    "inference": torch.inference_mode,
}


@functools.cache
def trained(rule: str, made_in: str, stepped_in: str) -> tuple[list[Tensor], dict[str, Any]]:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 2))
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    with CONTEXTS[made_in]():
        clipper = RULES[rule]()
    hook = clip_in_step(optimizer, clipper).attach(model=net)
    for step in range(4):

        def closure(step: int = step) -> Tensor:
            optimizer.zero_grad()
            loss: Tensor = net(torch.ones(3, 4) * (1 + step % 3)).square().sum()
            loss.backward()
            return loss

        loss = closure()
        with CONTEXTS[stepped_in]():
            optimizer.step(lambda loss=loss: loss)
            assert hook.last_report is not None
            told = hook.last_report.as_dict()
    return [param.detach().clone() for param in net.parameters()], told


@pytest.mark.parametrize("rule", RULES)
def test_weights_and_reports_are_the_same(rule: str) -> None:
    weights, told = trained(rule, "elsewhere", "elsewhere in autocast")
    expected, report = trained(rule, "none", "none")
    torch.testing.assert_close(weights, expected, rtol=0, atol=0)
    assert told == report


@pytest.mark.parametrize("rule", RULES)
def test_a_clipper_may_be_made_in_inference_mode(rule: str) -> None:
    weights, _ = trained(rule, "inference", "none")
    torch.testing.assert_close(weights, trained(rule, "none", "none")[0], rtol=0, atol=0)


def test_the_functions_in_the_place_of_torchs_too() -> None:
    weight = nn.Parameter(torch.zeros(2))
    weight.grad = torch.tensor([3.0, 4.0])
    with torch.device("meta"):
        norm = clip_grad_norm_([weight], 1.0)
    assert norm.item() == 5.0
    assert weight.grad.norm().item() == pytest.approx(1.0, rel=1e-5)


_MAKERS = {"arange", "as_tensor", "asarray", "empty", "eye", "full", "linspace", "ones", "rand"}
_MAKERS |= {"randint", "randn", "randperm", "scalar_tensor", "sparse_coo_tensor", "tensor", "zeros"}


def test_every_tensor_is_made_on_a_device_that_is_named() -> None:
    assert gradclip_core.__file__
    unnamed = []
    for path in Path(gradclip_core.__file__).parent.rglob("*.py"):
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute):
                module = call.func.value
                of_torch = isinstance(module, ast.Name) and module.id == "torch"
                named = any(keyword.arg == "device" for keyword in call.keywords)
                if of_torch and call.func.attr in _MAKERS and not named:
                    unnamed.append((path.name, call.func.attr))
    assert unnamed == [("like_torch.py", "zeros")]  # of no tensors, where torch has its default


@pytest.mark.parametrize("policy", ["pass", "zero"])
def test_a_rehearsal_on_meta_takes_a_clipper_of_its_own(policy: Any) -> None:
    clipper = ClipNorm(Percentile(50.0), nonfinite=policy)
    net = nn.Linear(3, 2, device="meta")
    net(torch.ones(1, 3, device="meta")).sum().backward()
    clipper(net)
    net.to_empty(device="cpu").load_state_dict(nn.Linear(3, 2).state_dict())
    net.zero_grad()
    net(torch.ones(1, 3)).sum().backward()
    with pytest.raises(ValueError, match=r"^this ClipNorm has clipped on the device meta, where"):
        clipper(net)
    assert ClipNorm(Percentile(50.0), nonfinite=policy)(net).norm > 0
