"""A clipper's state inside an optimizer's: through every way in which that is saved and loaded."""

from __future__ import annotations

import copy
import functools
import io
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed.checkpoint as dcp
from torch import Tensor, nn
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_optimizer_state_dict,
    get_state_dict,
    set_optimizer_state_dict,
    set_state_dict,
)
from torch.optim import SGD, AdamW

from gradclip_core import (
    ClipNorm,
    Clipper,
    ClipUpdate,
    ClipValue,
    Ema,
    Median,
    Percentile,
    Spam,
    UClip,
    ZScore,
    clip_in_step,
)
from gradclip_core.optimizers import clipped

RULES: dict[str, Callable[[], Clipper]] = {
    "percentile": lambda: ClipNorm(Percentile(50, window=6)),
    "by parameter": lambda: ClipNorm(Ema(), by="parameter"),
    "carry": lambda: UClip(ClipNorm(0.1)),
    "spam": lambda: Spam(2.0, warmup_steps=1, reset_every=4, lr_warmup_steps=2),
    "update": lambda: ClipUpdate(Percentile(30)),
}


class Training:
    """A net and an optimizer that clips: a twin, or an ordinary one after `clip_in_step`."""

    def __init__(self, clipper: Clipper, *, twin: bool = True) -> None:
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 1))
        self.clipper = clipper
        if twin:
            self.optimizer = clipped(AdamW)(self.net.named_parameters(), 0.01, clipper=clipper)
        else:
            self.optimizer = AdamW(self.net.named_parameters(), 0.01)
            clip_in_step(self.optimizer, clipper)

    def go(self, steps: range) -> Training:
        for step in steps:
            self.optimizer.zero_grad()
            x = torch.randn(4, 3, generator=torch.Generator().manual_seed(step))
            (self.net(x) * 10).square().mean().backward()
            self.optimizer.step()
        self.optimizer.zero_grad()
        return self


def assert_same(one: Training, other: Training) -> None:
    torch.testing.assert_close(one.net.state_dict(), other.net.state_dict(), rtol=0, atol=0)
    states = [training.clipper.state_dict() for training in (one, other)]
    torch.testing.assert_close(*states, rtol=0, atol=0)


def by_torch(source: Training, target: Training, folder: Path) -> None:
    saved = {"net": source.net.state_dict(), "optimizer": source.optimizer.state_dict()}
    torch.save(saved, folder / "state.pt")
    loaded = torch.load(folder / "state.pt", weights_only=True)
    target.net.load_state_dict(loaded["net"])
    target.optimizer.load_state_dict(loaded["optimizer"])


def by_state_dicts(**options: Any) -> Callable[[Training, Training, Path], None]:
    def way(source: Training, target: Training, folder: Path) -> None:
        chosen = StateDictOptions(**options)
        weights, state = get_state_dict(source.net, source.optimizer, options=chosen)
        # A copy, as a checkpoint is one: loading must not need the saved tensors themselves.
        weights, state = copy.deepcopy((weights, state))
        set_state_dict(
            target.net,
            target.optimizer,
            model_state_dict=weights,
            optim_state_dict=state,
            options=chosen,
        )

    return way


def by_files(**options: Any) -> Callable[[Training, Training, Path], None]:
    def way(source: Training, target: Training, folder: Path) -> None:
        chosen = StateDictOptions(**options)
        weights, state = get_state_dict(source.net, source.optimizer, options=chosen)
        dcp.save({"net": weights, "optimizer": state}, checkpoint_id=folder, no_dist=True)
        weights, state = get_state_dict(target.net, target.optimizer, options=chosen)
        held = {"net": weights, "optimizer": state}
        dcp.load(held, checkpoint_id=folder, no_dist=True)
        set_state_dict(
            target.net,
            target.optimizer,
            model_state_dict=held["net"],
            optim_state_dict=held["optimizer"],
            options=chosen,
        )

    return way


WAYS = {
    "torch": by_torch,
    "state dicts": by_state_dicts(),
    "flat": by_state_dicts(flatten_optimizer_state_dict=True),
    "full": by_state_dicts(full_state_dict=True, cpu_offload=True),
    "files": by_files(),
    "flat files": by_files(flatten_optimizer_state_dict=True),
}


@pytest.mark.filterwarnings("ignore:torch.distributed is .*available")
@pytest.mark.parametrize("twin", [True, False])
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("way", WAYS)
def test_a_run_resumes_bit_for_bit(way: str, rule: str, twin: bool, tmp_path: Path) -> None:
    whole = Training(RULES[rule](), twin=twin).go(range(12))
    half = Training(RULES[rule](), twin=twin).go(range(7))
    rest = Training(RULES[rule](), twin=twin)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="the state that is loaded")
        WAYS[way](half, rest, tmp_path)
    assert_same(half, rest)
    assert_same(rest.go(range(7, 12)), whole)


@pytest.mark.parametrize("twin", [True, False])
@pytest.mark.parametrize("rule", RULES)
def test_a_state_taken_before_the_first_step_counts_none(rule: str, twin: bool) -> None:
    fresh, training = Training(RULES[rule](), twin=twin), Training(RULES[rule](), twin=twin)
    get_optimizer_state_dict(training.net, training.optimizer)
    torch.testing.assert_close(
        training.clipper.state_dict(), fresh.clipper.state_dict(), rtol=0, atol=0
    )
    assert training.clipper.last_report is None


@pytest.mark.parametrize("twin", [True, False])
@pytest.mark.parametrize("way", ["torch", "dcp"])
def test_a_running_job_adopts_a_clipper(way: str, twin: bool) -> None:
    net = Training(ClipNorm(1.0)).net
    plain = AdamW(net.named_parameters(), 0.01)
    net(torch.ones(2, 3)).sum().backward()
    plain.step()
    plain.zero_grad()
    adopting = Training(ClipNorm(Percentile(50)), twin=twin)
    load: Callable[[], Any] = functools.partial(
        adopting.optimizer.load_state_dict, plain.state_dict()
    )
    if way == "dcp":
        state = get_optimizer_state_dict(net, plain)
        load = functools.partial(set_optimizer_state_dict, adopting.net, adopting.optimizer, state)
    with pytest.warns(UserWarning, match="was saved without a clipper: its ClipNorm goes") as told:
        load()
    assert len([w for w in told if "saved without a clipper" in str(w.message)]) == 1
    steps = [state["step"].item() for state in adopting.optimizer.state.values()]
    assert steps == [1.0] * 4
    adopting.go(range(3))
    assert adopting.clipper.steps.item() == 3


def test_a_state_that_was_loaded_before_the_clipper_came_is_taken_up() -> None:
    saved = Training(ClipNorm(Median(2.0))).go(range(5))
    net = Training(ClipNorm(1.0)).net
    plain = AdamW(net.named_parameters(), 0.01)
    plain.load_state_dict(saved.optimizer.state_dict())
    clipper = ClipNorm(Median(2.0))
    clip_in_step(plain, clipper)
    torch.testing.assert_close(clipper.state_dict(), saved.clipper.state_dict(), rtol=0, atol=0)
    other = AdamW(net.named_parameters(), 0.01)
    other.load_state_dict(saved.optimizer.state_dict())
    with pytest.raises(ValueError, match=r"^this state is of another clipper than ClipNorm"):
        clip_in_step(other, ClipNorm(1.0))


def test_an_ordinary_optimizer_takes_the_state_of_a_twin() -> None:
    training = Training(ClipNorm(1.0)).go(range(3))
    plain = AdamW(training.net.parameters(), 0.01)
    plain.load_state_dict(training.optimizer.state_dict())
    assert plain.state_dict()["state"].keys() == training.optimizer.state_dict()["state"].keys()


OTHERS: dict[str, tuple[Callable[[], Clipper], str]] = {
    "window": (lambda: ClipNorm(Percentile(50, window=9)), "size mismatch for threshold"),
    "threshold": (lambda: ClipNorm(ZScore()), "Missing key"),
    "without": (lambda: ClipNorm(1.0), "Unexpected key"),
    "rule": (lambda: UClip(ClipNorm(Percentile(50, window=6))), "Missing key"),
    "value": (lambda: ClipValue(0.5), "Unexpected key"),
}


@pytest.mark.parametrize("door", ["twin", "hook", "clipper"])
@pytest.mark.parametrize("name", OTHERS)
def test_the_state_of_another_clipper_is_one_line_and_loads_nothing(name: str, door: str) -> None:
    make, difference = OTHERS[name]
    saved = Training(ClipNorm(Percentile(50, window=6)), twin=door == "twin").go(range(3))
    other = Training(make(), twin=door == "twin").go(range(2))
    before = _snapshot(other)
    part = "clipper" if door == "clipper" else "optimizer"
    with pytest.raises(ValueError, match=r"^this state is of another clipper than ") as error:
        getattr(other, part).load_state_dict(getattr(saved, part).state_dict())
    assert difference in str(error.value)
    assert "\n" not in str(error.value)
    torch.testing.assert_close(_snapshot(other), before, rtol=0, atol=0)


def test_where_the_optimizer_refuses_the_state_the_clipper_keeps_its_own() -> None:
    saved = Training(ClipNorm(Median(2.0))).go(range(3))
    other = clipped(SGD)([nn.Parameter(torch.ones(2))], 0.1, clipper=ClipNorm(Median(2.0)))
    with pytest.raises(ValueError, match="doesn't match the size of optimizer's group"):
        other.load_state_dict(saved.optimizer.state_dict())
    assert other.clipper.steps.item() == 0


def _snapshot(training: Training) -> Any:
    state = training.optimizer.state_dict()
    state["param_groups"][0].pop("clipper")
    return copy.deepcopy((state["state"], dict(training.clipper.state_dict())))


def test_the_state_is_of_plain_types() -> None:
    training = Training(RULES["spam"]()).go(range(3))
    torch.save(training.optimizer.state_dict(), buffer := io.BytesIO())
    buffer.seek(0)
    state = torch.load(buffer, weights_only=True)
    held = torch.load(io.BytesIO(state["param_groups"][0]["clipper"]), weights_only=True)
    assert {type(value) for value in held.values()} <= {Tensor, dict}
    assert all("clipper" not in group for group in state["param_groups"][1:])


@pytest.mark.filterwarnings("ignore:torch.distributed is .*available")
@pytest.mark.parametrize("rule", ["history", "carry"])
def test_a_state_that_has_no_place_in_a_new_clipper_is_not_passed_by(
    rule: str, tmp_path: Path
) -> None:
    def make() -> Clipper:
        return UClip(ClipNorm(1.0)) if rule == "carry" else ClipNorm(Median(2.0), by="parameter")

    net, clipper = nn.Linear(2, 1), make()
    net(torch.ones(1, 2)).sum().backward()
    clipper(net)
    dcp.save({"clipper": clipper.state_dict()}, checkpoint_id=tmp_path, no_dist=True)
    held = {"clipper": make().state_dict()}
    with pytest.raises(CheckpointException, match="Size mismatch"):
        dcp.load(held, checkpoint_id=tmp_path, no_dist=True)
