"""How often the host reads the device in a step: of every preset, policy and door, on `meta`.

Values of tensors there do not exist: a mode of torch answers each question and counts it.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn
from torch.optim import SGD, Adam
from torch.utils._python_dispatch import TorchDispatchMode

from apps import CONF
from gradclip_core import ACClip, ClipNorm, Clipper, Percentile, clip_in_step
from tests.presets import preset, with_policy

hydra = pytest.importorskip("hydra", reason="hydra is not installed")

POLICIES = ["skip", "raise", "zero", "pass"]
# Presets that look once in every door under the policy `skip`: a skipped step may not touch what
# they keep of the gradients, or of the parameters.
ONE = {
    "acclip",
    "adafactor",
    "adagc",
    "adamw_clip",
    "by_name",
    "clippy",
    "noise_aware",
    "randomized",
    "spam",
    "spectra",
    "stable_adamw",
    "stable_spam",
    "u_clip",
    "update_norm",
}
RULES = {"by_name": 2, "chain": 2}  # each rule has a guard of its own
NEED_OPTIMIZER = {"adafactor", "clippy", "spam", "spectra", "stable_adamw", "stable_spam"}
NEED_OPTIMIZER |= {"adamw_clip", "update_norm"}
# Called in another way: inside the backward pass, with samples, with the loss.
LEFT_OUT = {"in_backward", "per_sample", "skip_on_spike"}


class Reads(TorchDispatchMode):
    """Answers what is asked of tensors without values: all is finite, nothing is over."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default:
            self.count += 1
            return args[0].dtype is torch.bool
        return func(*args, **(kwargs or {}))


def presets() -> list[str]:
    return sorted({path.stem for path in (CONF / "clipping").glob("*.yaml")} - LEFT_OUT)


@functools.cache
def config_of(name: str) -> Any:
    return preset(name)


def make(name: str, policy: str) -> Clipper:
    config = copy.deepcopy(config_of(name))
    for override in paths_of_policies(name):
        OmegaConf.update(config, override, policy)
    clipper: Clipper = hydra.utils.instantiate(config, _convert_="all")
    return clipper


@functools.cache
def paths_of_policies(name: str) -> list[str]:
    overrides = with_policy(name, "skip")
    return [override.removeprefix("clipping.").partition("=")[0] for override in overrides]


class FusedAdam(Adam):
    """Says that it is fused, which torch has no kernel for on `meta`; its step does nothing."""

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Where a CUDA kernel would be."""


class FusedSGD(SGD):
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Where a CUDA kernel would be."""


def fused(net: nn.Module, clipper: Clipper) -> Any:
    optimizer: Any = FusedAdam(net.parameters(), 0.1)
    if isinstance(clipper, ACClip):
        optimizer = FusedSGD(net.parameters(), 0.1)
    optimizer.param_groups[0]["fused"] = True
    return optimizer


def on_meta() -> nn.Module:
    net = nn.Sequential(nn.Linear(3, 4, device="meta"), nn.Linear(4, 2, device="meta"))
    for param in net.parameters():
        param.grad = torch.ones_like(param)
    return net


def by_call(net: nn.Module, clipper: Clipper) -> Callable[[], Any]:
    return lambda: clipper(net.named_parameters())


def by_attached_call(net: nn.Module, clipper: Clipper) -> Callable[[], Any]:
    optimizer = fused(net, clipper)
    clipper.attach(model=net, optimizer=optimizer)
    return lambda: (clipper(net.named_parameters()), optimizer.step())


def by_fold(net: nn.Module, clipper: Clipper) -> Callable[[], Any]:
    optimizer = fused(net, clipper)
    clipper.attach(model=net, optimizer=optimizer).fold_into(optimizer)
    return lambda: (clipper(net.named_parameters()), optimizer.step())


def in_step(net: nn.Module, clipper: Clipper) -> Callable[[], Any]:
    optimizer = fused(net, clipper)
    clip_in_step(optimizer, clipper).attach(model=net)
    return optimizer.step


def in_step_that_cannot_skip(net: nn.Module, clipper: Clipper) -> Callable[[], Any]:
    optimizer = fused(net, clipper)
    optimizer.param_groups[0]["fused"] = False
    clip_in_step(optimizer, clipper).attach(model=net)
    return optimizer.step


DOORS = {
    "call": by_call,
    "attached": by_attached_call,
    "folded": by_fold,
    "in step": in_step,
    "not fused": in_step_that_cannot_skip,
}


def reads(door: str, clipper: Clipper, steps: int = 2) -> int:
    net = on_meta()
    step = DOORS[door](net, clipper)
    with Reads() as counted:
        for _ in range(steps):
            for param in net.parameters():
                param.grad = torch.ones_like(param)
            step()
    assert counted.count % steps == 0
    return counted.count // steps


def expected(name: str, policy: str, door: str) -> int:
    """What docs/recipes.md says."""
    guards = RULES.get(name, 1)
    told = policy == "skip" and door in ("attached", "folded", "in step")
    if name == "skip":  # the response asks twice more: is a part over, and may it be skipped
        return 0 if told else 2 + (policy in ("skip", "raise"))
    if policy in ("zero", "pass"):
        return 0
    if name == "chain":  # all but its last rule have to know
        return 1 if told else 2
    return 0 if told and name not in ONE else guards


@pytest.mark.filterwarnings("ignore:.*never clips, since its threshold is inf")
@pytest.mark.parametrize("name", presets())
def test_every_preset_reads_as_often_as_the_table_says(name: str) -> None:
    for policy in POLICIES:
        # Doors differ where the optimizer may be told, and nowhere else.
        for door in DOORS if policy == "skip" else ["in step"]:
            if door == "call" and name in NEED_OPTIMIZER:
                continue
            counted = reads(door, make(name, policy))
            assert counted == expected(name, policy, door), (policy, door)


def test_the_default_is_free_in_the_step_of_a_fused_optimizer_and_patience_is_not() -> None:
    assert reads("in step", ClipNorm(1.0)) == 0
    assert reads("in step", ClipNorm(1.0, exclude=r"^0", by="parameter")) == 0
    assert reads("in step", ClipNorm(Percentile(10), patience=3)) == 1
    assert reads("call", ClipNorm(1.0)) == 1
    assert reads("call", ClipNorm(1.0, min_ndim=2)) == 1
