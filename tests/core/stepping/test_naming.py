"""Names of an optimizer's parameters: from the model that is attached, or as the optimizer has."""

from __future__ import annotations

import copy
import gc
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD, Optimizer

from gradclip_core import ClipNorm, clip_in_step, optimizers
from gradclip_core.in_step import ClippedStep


def two_nets() -> tuple[nn.Module, nn.Module]:
    return nn.Linear(4, 3), nn.Linear(3, 1)


def step(optimizer: Optimizer, *parts: nn.Module, factor: Tensor | None = None) -> None:
    loss = nn.Sequential(*parts)(torch.ones(2, 4)).square().sum()
    (loss if factor is None else loss * factor).backward()
    optimizer.step()


def names(door: Any) -> list[str | None]:
    assert door.last_report is not None
    return list(door.last_report.names)


@pytest.mark.parametrize("twin", [False, True])
def test_a_container_that_is_made_for_its_names_is_kept(twin: bool) -> None:
    encoder, decoder = two_nets()
    params = [*encoder.parameters(), *decoder.parameters()]
    clipper = ClipNorm(1e-9, by="module", exclude="^decoder")
    door: Any
    if twin:
        door = optimizer = optimizers.SGD(params, 0.1, clipper=clipper)
    else:
        optimizer = SGD(params, 0.1)
        door = clip_in_step(optimizer, clipper)
    door.attach(model=nn.ModuleDict({"encoder": encoder, "decoder": decoder}))
    gc.collect()
    step(optimizer, encoder, decoder)
    assert names(door) == ["encoder.weight", "encoder.bias"]


def with_loss_weight(named: bool) -> tuple[nn.Module, nn.Parameter, SGD, ClippedStep]:
    net, weight = nn.Sequential(*two_nets()), nn.Parameter(torch.ones(()))
    params: list[Any] = [*net.parameters(), weight]
    if named:
        params = [*net.named_parameters(prefix="_orig_mod"), ("_orig_mod.temperature", weight)]
    optimizer = SGD(params, 0.1)
    hook = clip_in_step(optimizer, ClipNorm(1e-9, exclude="bias$")).attach(model=net)
    return net, weight, optimizer, hook


def test_a_parameter_that_the_model_lacks_is_called_as_in_the_optimizer() -> None:
    net, weight, optimizer, hook = with_loss_weight(named=True)
    step(optimizer, net, factor=weight)
    assert names(hook) == ["0.weight", "1.weight", "temperature"]


def test_one_that_nobody_has_named_is_told_of() -> None:
    net, weight, optimizer, hook = with_loss_weight(named=False)
    with pytest.raises(ValueError, match=r"^exclude='bias\$' needs .* parameter 4 has no name$"):
        step(optimizer, net, factor=weight)
    hook.attach(model=nn.ModuleDict({"net": net, "loss": nn.ParameterList([weight])}))
    step(optimizer, net, factor=weight)
    assert names(hook) == ["net.0.weight", "net.1.weight", "loss.0"]


@pytest.mark.parametrize("twin", [False, True])
def test_a_copy_of_the_model_is_told_of(twin: bool) -> None:
    net = nn.Sequential(*two_nets())
    door: Any
    if twin:
        door = optimizers.SGD(net.parameters(), 0.1, clipper=ClipNorm(1.0))
    else:
        door = clip_in_step(SGD(net.parameters(), 0.1), ClipNorm(1.0))
    with pytest.warns(UserWarning, match="^no parameter of .*SGD is one of this Sequential"):
        door.attach(model=copy.deepcopy(net))
    door.attach(model=net)
