"""Numbers of NumPy and of torch wherever a number is asked for, and who is called by hooks."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from gradclip_core import (
    ByName,
    Chain,
    ClipNorm,
    Clipper,
    ClipPerSample,
    ClipUpdate,
    ClipValue,
    Fixed,
    Median,
    NoClip,
    Percentile,
    Relative,
    Scheduled,
    SkipOnSpike,
    Spam,
    StableSpam,
    UClip,
    WindowZScore,
    clip_backward,
)

TWOS: list[Any] = [np.float32(2), np.float64(2), np.int64(2), np.array(2.0), torch.tensor(2)]


@pytest.mark.parametrize("two", [*TWOS, torch.tensor(2.0)], ids=repr)
def test_numbers_of_numpy_and_torch_are_numbers(two: Any) -> None:
    thresholds = [Fixed(two), ClipNorm(two).threshold, ClipValue(two).threshold]
    thresholds += [SkipOnSpike(two, two).threshold, ClipUpdate(two).threshold]
    assert [threshold.value for threshold in thresholds] == [2.0] * 5
    assert all(type(threshold.value) is float for threshold in thresholds)
    assert ClipValue((-two, two)).pair == (-2.0, 2.0)
    assert ClipNorm(1.0, norm_type=two, eps=two).eps == Relative(two).factor == Median(two).factor
    assert Spam(two).ratio == 2.0
    assert type(Spam(two).ratio) is float
    assert Scheduled(two).threshold.value == 2.0
    hidden = torch.ones(2, requires_grad=True)
    (5 * clip_backward(hidden, max_value=two)).sum().backward()
    assert hidden.grad is not None
    assert hidden.grad.tolist() == [2.0, 2.0]


@pytest.mark.parametrize("two", [np.int64(2), np.array(2), torch.tensor(2)], ids=repr)
def test_so_are_integers(two: Any) -> None:
    found = [
        Percentile(window=two).window,
        WindowZScore(window=4, warmup_steps=two).warmup_steps,
        ClipNorm(1.0, min_ndim=two).select.min_ndim,
        ClipNorm(1.0, patience=two).guard.patience,
        ClipNorm(1.0, response="skip", max_skips=two).max_skips,
        StableSpam(reset_every=two).reset.every,
        ClipPerSample(chunk_size=two).chunk_size,
    ]
    assert [(type(number), number) for number in found] == [(int, 2)] * 7


@pytest.mark.parametrize(
    "wrong",
    [
        np.float32(-1),
        np.bool_(True),
        np.array([1.0]),
        torch.tensor([1.0]),
        torch.tensor(math.nan),
        torch.tensor(True),
        torch.tensor(1.0, device="meta"),
        "1",
        1j,
    ],
    ids=repr,
)
def test_others_are_still_refused(wrong: Any) -> None:
    with pytest.raises(ValueError, match="max_norm must be a number > 0"):
        ClipNorm(wrong)


def test_an_array_is_a_pair_too() -> None:
    assert ClipValue(np.array([-1.0, 2.0])).pair == ClipValue(torch.tensor([-1.0, 2.0])).pair


@pytest.mark.parametrize("make", [ClipNorm, ClipValue, ClipUpdate])
def test_none_names_what_clips_nothing(make: Any) -> None:
    with pytest.raises(ValueError, match=r"\(NoClip\(\) clips nothing\), got None$"):
        make(None)


def test_inf_may_be_a_word() -> None:
    weight = nn.Parameter(torch.zeros(2))
    weight.grad = torch.tensor([3.0, 4.0])
    rules: list[Clipper] = [
        NoClip(norm_type="inf"),  # type: ignore[arg-type]
        Chain([NoClip()], norm_type="inf"),  # type: ignore[arg-type]
        ByName({"w": NoClip()}, norm_type="inf"),  # type: ignore[arg-type]
        ClipNorm(9.0, by="parameter", norm_type="inf"),  # type: ignore[arg-type]
    ]
    assert [rule([("w", weight)]).norm.item() for rule in rules] == [4.0] * 4


def test_hooks_on_all_modules_are_not_called_for_a_clipper_or_its_parts() -> None:
    seen: list[str] = []
    weight = nn.Parameter(torch.zeros(2))
    adam = torch.optim.Adam([weight])
    hooks = [
        nn.modules.module.register_module_forward_hook(lambda m, *_: seen.append(type(m).__name__)),
        nn.modules.module.register_module_forward_pre_hook(
            lambda m, *_: seen.append(type(m).__name__)
        ),
    ]
    try:
        for clipper in (
            ClipNorm(Scheduled(Median()), by="parameter"),
            UClip(Chain([ClipValue(Percentile(), by="row")])),
            ByName({"w": ClipNorm(Median(), by="parameter")}),
            StableSpam(reset_every=None),
            Spam().attach(optimizer=adam),
        ):
            weight.grad = torch.tensor([3.0, 4.0])
            clipper([("w", weight)])
        nn.Identity()(weight)
    finally:
        for hook in hooks:
            hook.remove()
    assert seen == ["Identity", "Identity"]


def test_a_hook_of_a_threshold_itself_is_called() -> None:
    threshold, seen = Median(), []
    threshold.register_forward_hook(lambda *_: seen.append(1))
    weight = nn.Parameter(torch.zeros(2))
    weight.grad = torch.tensor([3.0, 4.0])
    ClipNorm(threshold, by="parameter")([weight])
    assert seen == [1]
