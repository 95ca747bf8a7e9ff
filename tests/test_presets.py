"""The presets of conf/clipping: each complete, explained, and safe with any gradient."""

from __future__ import annotations

import inspect
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra.utils import get_class, instantiate
from omegaconf import OmegaConf
from torch import nn

from gradclip_core import Clipper
from tests import presets
from tests.attached import attached

PRESETS = sorted(Path(__file__).parents[1].joinpath("conf", "clipping").glob("*.yaml"))
preset = pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)


@preset
def test_every_key_of_the_class_is_there_and_commented(path: Path) -> None:
    config = presets.preset(path.stem)
    keys = set(inspect.signature(get_class(config["_target_"])).parameters)
    assert {str(key) for key in config if key != "_target_"} == keys
    text = path.read_text(encoding="utf-8")
    assert text.startswith("# ")
    lines = [line for line in text.splitlines() if not line.startswith(("#", "defaults: "))]
    assert [line for line in lines if "  # " not in line and not line.endswith(":")] == [
        line for line in lines if "_target_" in line
    ]


@preset
def test_a_file_names_no_key_that_its_base_sets_to_the_same(path: Path) -> None:
    own = OmegaConf.to_container(OmegaConf.load(path))
    assert isinstance(own, dict)
    for base in own.get("defaults", []):
        if base != "_self_":
            file = path.parent / f"{base.removesuffix('@_here_')}.yaml"
            inherited = OmegaConf.load(file)
            assert [key for key in own if key in inherited and own[key] == inherited[key]] == []


def make_net() -> nn.Module:
    torch.manual_seed(0)
    net = nn.Module()
    net.body = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 4))
    net.memory = nn.GRU(4, 4)
    net.output = nn.Linear(4, 1)
    return net


def step(net: Any, optimizer: torch.optim.Optimizer, clipper: Any, scale: float) -> None:
    def loss_of(x: torch.Tensor) -> torch.Tensor:
        return net.output(net.memory(net.body(x))[0]).square().mean()

    optimizer.zero_grad()
    x = torch.ones(2, 3)
    if clipper.needs_samples:
        loss = clipper.backward(lambda sample: scale * loss_of(sample), x)
    else:
        loss = loss_of(x)
        loss.backward()
        for param in net.parameters():
            param.grad.mul_(scale)
    clipper(net, loss=loss)
    optimizer.step()


def build(path: Path, policy: str) -> Clipper:
    """The clipper of a preset, with one policy for non-finite gradients throughout."""
    config = OmegaConf.to_container(presets.preset(path.stem))
    set_policy(config, policy)
    clipper: Clipper = instantiate(config)
    return clipper


def set_policy(node: Any, policy: str) -> None:
    if isinstance(node, dict) and "nonfinite" in node:
        node["nonfinite"] = policy
    for value in node.values() if isinstance(node, dict) else node:
        if isinstance(value, (dict, list)):
            set_policy(value, policy)


@preset
@pytest.mark.parametrize("policy", ["skip", "zero"])
def test_training_goes_on_after_any_gradient(path: Path, policy: str) -> None:
    net, clipper = make_net(), build(path, policy)
    optimizer = attached(clipper, net, lr=1e-3)
    for scale in (1.0, math.nan, 0.0, math.inf, 1.0, 0.0, 1.0):
        step(net, optimizer, clipper, scale)
    assert all(param.isfinite().all() for param in net.parameters())
    before = [param.detach().clone() for param in net.parameters()]
    step(net, optimizer, clipper, 1.0)
    assert any(not torch.equal(p, b) for p, b in zip(net.parameters(), before, strict=True))


def bound(path: Path) -> Any:
    config = presets.preset(path.stem)
    return OmegaConf.to_object(config).get("max_norm", config.get("clip_value"))


# A threshold that is learnt, or relative to weights, may let the first gradient through, and
# that of update_norm is itself the distance; spectra leaves vectors alone.
BOUNDED = [
    path
    for path in PRESETS
    if isinstance(bound(path), (int, float, list)) and path.stem not in ("update_norm", "spectra")
]


@pytest.mark.parametrize("path", BOUNDED, ids=lambda path: path.stem)
def test_a_huge_gradient_moves_nothing_far(path: Path) -> None:
    net, clipper = make_net(), build(path, "skip")
    before = [param.detach().clone() for param in net.parameters()]
    step(net, attached(clipper, net, lr=1e-3), clipper, 1e30)
    for param, old in zip(net.parameters(), before, strict=True):
        torch.testing.assert_close(param.detach(), old, rtol=0, atol=1e-2)


def test_a_threshold_inside_a_threshold_is_built() -> None:
    config = presets.preset("scheduled")
    config.max_norm.threshold = {"_target_": "gradclip_core.Median", "factor": 3.0}
    assert instantiate(config).threshold.threshold.factor == 3.0
