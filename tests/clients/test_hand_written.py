"""Loops as people write them: equal to torch's own clip at one threshold, and resumable.

plain, accumulation, a GAN of two optimizers and PPO; each with a call of the clipper, with the
clipper in the step, with twins and with the drop-in function.
"""

from __future__ import annotations

import copy
import functools
import io
from collections.abc import Callable
from typing import Any, TypeAlias

import pytest
import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from gradclip_core import ClipNorm, Clipper, Median, clip_in_step, functional
from gradclip_core.optimizers import clipped

BOUND = 0.3
Clip: TypeAlias = Callable[[nn.Module], object]


def drawn(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


class Plain:
    """One optimizer, one step for each batch."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.nets: list[nn.Module] = [nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))]

    def step(self, i: int, optimizers: list[Optimizer], clips: list[Clip]) -> None:
        optimizers[0].zero_grad()
        (self.nets[0](drawn(i, 8, 3)) - drawn(i, 8, 1) * 5).square().mean().backward()
        clips[0](self.nets[0])
        optimizers[0].step()


class Accumulation(Plain):
    """Four backward passes for each step."""

    def step(self, i: int, optimizers: list[Optimizer], clips: list[Clip]) -> None:
        optimizers[0].zero_grad()
        for part in range(4):
            x = drawn(4 * i + part, 8, 3)
            ((self.nets[0](x) - x.sum(1, keepdim=True) * 5).square().mean() / 4).backward()
        clips[0](self.nets[0])
        optimizers[0].step()


class Gan:
    """A discriminator and a generator, stepped in turn."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        generator = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 3))
        self.nets: list[nn.Module] = [generator, nn.Sequential(nn.Linear(3, 8), nn.Linear(8, 1))]

    def step(self, i: int, optimizers: list[Optimizer], clips: list[Clip]) -> None:
        generator, discriminator = self.nets
        real, fake = 3 * drawn(2 * i, 8, 3) + 1, generator(drawn(2 * i + 1, 8, 2))
        logits = discriminator(torch.cat([real, fake.detach()]))
        targets = torch.cat([torch.ones(8, 1), torch.zeros(8, 1)])
        optimizers[1].zero_grad()
        nn.functional.binary_cross_entropy_with_logits(logits, targets).backward()
        clips[1](discriminator)
        optimizers[1].step()
        optimizers[0].zero_grad()
        (-10 * nn.functional.logsigmoid(discriminator(fake)).mean()).backward()
        clips[0](generator)
        optimizers[0].step()


class Ppo:
    """PPO on a bandit of two actions: a clipped ratio, a value loss, several epochs a rollout."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.nets: list[nn.Module] = [nn.ModuleDict({"actor": _mlp(2), "critic": _mlp(1)})]

    def step(self, i: int, optimizers: list[Optimizer], clips: list[Clip]) -> None:
        net: Any = self.nets[0]
        x, draw = drawn(i, 16, 3), torch.Generator().manual_seed(i)
        with torch.no_grad():
            before = net["actor"](x).log_softmax(1)
            action = torch.multinomial(before.exp(), 1, generator=draw)
            reward = 5 * (x[:, :1] > 0).eq(action.bool()).float()
            advantage = reward - net["critic"](x)
        for _ in range(3):
            ratio = (net["actor"](x).log_softmax(1) - before).gather(1, action).exp()
            surrogate = torch.min(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage).mean()
            loss = (net["critic"](x) - reward).square().mean() - surrogate
            optimizers[0].zero_grad()
            loss.backward()
            clips[0](net)
            optimizers[0].step()


def _mlp(out: int) -> nn.Module:
    return nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, out))


LOOPS: dict[str, type[Any]] = {"plain": Plain, "accumulation": Accumulation, "gan": Gan, "ppo": Ppo}


class Run:
    """A loop with its optimizers and the way in which it clips."""

    def __init__(self, loop: str, way: str, make: Callable[[], Clipper]) -> None:
        self.loop, self.way = LOOPS[loop](), way
        self.clippers = [make() for _ in self.loop.nets]
        pairs = list(zip(self.loop.nets, self.clippers, strict=True))
        kind: Any = clipped(AdamW) if way == "twin" else AdamW
        settings = [{"clipper": clipper} if way == "twin" else {} for clipper in self.clippers]
        self.optimizers = [
            kind(net.parameters(), 0.02, **setting)
            for net, setting in zip(self.loop.nets, settings, strict=True)
        ]
        self.clips: list[Clip] = [_nothing for _ in pairs]
        if way == "call":
            self.clips = [functools.partial(_call, clipper) for clipper in self.clippers]
        elif way == "in step":
            for optimizer, (net, clipper) in zip(self.optimizers, pairs, strict=True):
                clip_in_step(optimizer, clipper).attach(model=net)
        elif way in ("function", "torch"):
            of = functional if way == "function" else nn.utils
            self.clips = [functools.partial(_function, of) for _ in pairs]

    def go(self, steps: range) -> Run:
        for i in steps:
            self.loop.step(i, self.optimizers, self.clips)
        return self

    def weights(self) -> list[dict[str, Tensor]]:
        return [dict(net.state_dict()) for net in self.loop.nets]

    def state(self) -> dict[str, Any]:
        held = [self.loop.nets, self.optimizers, self.clippers]
        keys = ("nets", "optimizers", "clippers")
        return {k: [x.state_dict() for x in xs] for k, xs in zip(keys, held, strict=True)}

    def load(self, state: dict[str, Any]) -> None:
        for net, held in zip(self.loop.nets, state["nets"], strict=True):
            net.load_state_dict(held)
        for optimizer, held in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(held)
        if self.way == "call":  # else the optimizers carry it
            for clipper, held in zip(self.clippers, state["clippers"], strict=True):
                clipper.load_state_dict(held)


def _nothing(net: nn.Module) -> None:
    """Somebody else clips, in the step."""


def _call(clipper: Clipper, net: nn.Module) -> object:
    return clipper(net.named_parameters())


def _function(of: Any, net: nn.Module) -> object:
    return of.clip_grad_norm_(net.parameters(), BOUND)


WAYS = ["call", "in step", "twin", "function"]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("loop", LOOPS)
def test_weights_are_those_of_torchs_own_clipping(loop: str, way: str) -> None:
    make = functools.partial(ClipNorm, BOUND)
    ours, theirs, free = (Run(loop, kind, make).go(range(12)) for kind in (way, "torch", "none"))
    # Float32: norms that differ in their last digit, through at most 36 steps of Adam.
    torch.testing.assert_close(ours.weights(), theirs.weights(), rtol=1e-4, atol=1e-5)
    pairs = zip(ours.weights()[0].values(), free.weights()[0].values(), strict=True)
    assert any(not torch.allclose(one, other, atol=1e-3) for one, other in pairs)
    if way != "function":
        assert all(float(clipper.last_report.clip_rate) > 0 for clipper in ours.clippers)


@pytest.mark.parametrize("way", WAYS[:3])
@pytest.mark.parametrize("loop", LOOPS)
def test_a_run_resumes_bit_for_bit(loop: str, way: str) -> None:
    whole, half, rest = (Run(loop, way, lambda: ClipNorm(Median(0.8))) for _ in range(3))
    whole.go(range(10))
    half.go(range(6))
    torch.save(half.state(), buffer := io.BytesIO())
    buffer.seek(0)
    rest.load(torch.load(buffer, weights_only=True))
    rest.go(range(6, 10))
    torch.testing.assert_close(rest.weights(), whole.weights(), rtol=0, atol=0)
    states = [[copy.deepcopy(c.state_dict()) for c in run.clippers] for run in (rest, whole)]
    torch.testing.assert_close(*states, rtol=0, atol=0)
