"""Every kind of gradient is clipped rightly or refused in one line that names its parameter.

`hostile.py` clips them in a process of its own, with the kernel and without it: a fault in the
kernel fails the tests of the kind that was clipped last, not the run of all tests.
"""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
from itertools import product
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gradclip_core.parts import native
from gradclip_core.parts.usable import all_usable, check_together, usable
from tests.core.parts import hostile, kinds_of_gradients

Outcome = dict[str, Any]
Outcomes = dict[tuple[str, str, str], Outcome]
WAYS = ["kernel", "pytorch"]


@pytest.fixture(scope="module")
def outcomes() -> Outcomes:
    """What came of each way, rule and kind; of the last of a process that died, how it did."""
    found = {}
    for way in WAYS:
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-m", "tests.core.parts.hostile"],
            env=os.environ | {"GRADCLIP_NATIVE": "0" if way == "pytorch" else "1"},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        begun, ended = lines[::2], lines[1::2]
        for (kind, rule), outcome in zip(begun, ended, strict=False):
            found[way, rule, kind] = outcome
        if done.returncode:
            kind, rule = begun[len(ended)] if len(begun) > len(ended) else begun[-1]
            died = {"error": "death", "message": f"exit code {done.returncode}: {done.stderr}"}
            found[way, rule, kind] = died
    return found


def dense(params: kinds_of_gradients.Params) -> list[Tensor]:
    """The gradients as plain float64 tensors; complex numbers as pairs."""
    found = []
    for _, param in params:
        if param.grad is None:
            continue
        grad = param.grad.detach()
        grad = (grad.to_dense() if grad.is_sparse else grad).resolve_conj().resolve_neg()
        wide = torch.view_as_real(grad) if grad.is_complex() else grad
        found.append(wide.double().flatten())
    return found


def magnitudes(params: kinds_of_gradients.Params) -> list[Tensor]:
    """The magnitudes of all elements, one tensor for each gradient."""
    grads = [param.grad for _, param in params if param.grad is not None]
    complex_ones = [grad.is_complex() for grad in grads]
    pairs = zip(dense(params), complex_ones, strict=True)
    return [d.view(-1, 2).norm(dim=1) if pair else d.abs() for d, pair in pairs]


def norm_of(tensors: list[Tensor], order: float) -> float:
    return float(torch.linalg.vector_norm(torch.cat(tensors), order))


def expected(kind: str, rule: str) -> tuple[float, list[Tensor]] | None:
    """The norm before, and the gradients after; None where this test has no formula of its own."""
    params = (kinds_of_gradients.TAKEN | kinds_of_gradients.COMPLEX)[kind]()
    grads, sizes = dense(params), magnitudes(params)
    orders = {"norm": 2.0, "third norm": 3.0, "largest": math.inf}
    if rule in orders:
        norm = norm_of(sizes, orders[rule])
        return norm, [grad * min(1.0, 0.1 / norm) for grad in grads]
    if rule == "parameter":
        norms = [norm_of([s], 2.0) if len(s) else 0.0 for s in sizes]
        factors = [min(1.0, 0.1 / norm) if norm else 1.0 for norm in norms]
        return math.hypot(*norms), [g * f for g, f in zip(grads, factors, strict=True)]
    if rule == "value":
        return norm_of(sizes, math.inf), [grad.clamp(-0.1, 0.1) for grad in grads]
    if rule == "pair":
        return norm_of(sizes, math.inf), [grad.clamp(-0.1, 0.2) for grad in grads]
    if rule == "nothing":
        return norm_of(sizes, 2.0), grads
    return None


def check(kind: str, rule: str, ours: list[Outcome]) -> None:
    """The outcome of each way against the formula."""
    if rule in ("value", "pair") and kind in kinds_of_gradients.COMPLEX:
        assert all("complex gradients, as a has" in outcome["message"] for outcome in ours)
        return
    rounded = any(word in kind for word in ("half", "16", "mixed", "in two dtypes"))
    # One rounding of bfloat16 is 2^-9 of a number, one of float32 2^-24.
    near = {"rtol": 4e-3 if rounded else 1e-6, "atol": 1e-9}
    for outcome in ours:
        assert "error" not in outcome, (rule, outcome)
        formula = expected(kind, rule)
        if formula is None:  # the kernel and PyTorch stand for each other
            formula = ours[0]["norm"], [torch.tensor(a).double() for a in ours[0]["after"]]
        assert outcome["norm"] == pytest.approx(formula[0], rel=1e-6)
        for after, theirs in zip(outcome["after"], formula[1], strict=True):
            torch.testing.assert_close(torch.tensor(after).double(), theirs, **near)


@pytest.mark.parametrize("kind", kinds_of_gradients.TAKEN | kinds_of_gradients.COMPLEX)
def test_it_is_clipped_rightly(kind: str, outcomes: Outcomes) -> None:
    for rule in hostile.rules():
        check(kind, rule, [outcomes[way, rule, kind] for way in WAYS])


@pytest.mark.parametrize("kind", kinds_of_gradients.REFUSED)
def test_it_is_refused_in_one_line(kind: str, outcomes: Outcomes) -> None:
    for way, rule in product(WAYS, hostile.rules()):
        outcome = outcomes[way, rule, kind]
        assert outcome.get("error") in ("TypeError", "ValueError"), outcome
        assert "\n" not in outcome["message"]
        assert re.search(kinds_of_gradients.REFUSED[kind][1], outcome["message"]), outcome[
            "message"
        ]


@pytest.mark.parametrize("kind", kinds_of_gradients.INSIDE)
def test_clipping_inside_of_a_transform_is_refused(kind: str, outcomes: Outcomes) -> None:
    for way, rule in product(WAYS, hostile.rules()):
        outcome = outcomes[way, rule, kind]
        assert outcome.get("error") == "TypeError", outcome
        assert "the gradient of a belongs to a transform of torch.func" in outcome["message"]


@given(
    shape=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    strides=st.lists(st.integers(0, 7), min_size=3, max_size=3),
    offset=st.integers(0, 3),
    held=st.integers(0, 90),
)
@settings(max_examples=200, deadline=None, derandomize=True)
def test_a_view_is_taken_just_if_its_elements_are_in_memory_and_apart(
    shape: list[int], strides: list[int], offset: int, held: int
) -> None:
    memory = torch.zeros(90)
    view = torch.as_strided(memory, shape, strides[: len(shape)], offset)
    memory.untyped_storage().resize_(4 * held)
    places = torch.as_strided(torch.arange(90), shape, strides[: len(shape)], offset).flatten()
    fits = bool(places.max() < held)
    apart = len(places.unique()) == len(places)
    if fits and apart:
        assert usable(view, "a") is view
    else:
        with pytest.raises(ValueError, match="gradient of a"):
            usable(view, "a")
    if view.is_contiguous():
        assert all_usable([view]) == (fits and apart)
        if native.library() is not None and native.library().locate is not None:  # type: ignore[union-attr]
            assert (native.locate([view]) is not None) == (fits and apart)


@given(
    pieces=st.lists(st.tuples(st.integers(0, 20), st.integers(1, 9), st.integers(1, 4)), max_size=5)
)
@settings(max_examples=200, deadline=None, derandomize=True)
def test_gradients_that_share_an_element_are_refused(pieces: list[tuple[int, int, int]]) -> None:
    memory = torch.zeros(64)
    grads = [torch.as_strided(memory, (size,), (step,), start) for start, size, step in pieces]
    places = [set(range(start, start + size * step, step)) for start, size, step in pieces]
    if sum(map(len, places)) == len(set().union(*places)):
        check_together(grads, list("abcde"[: len(grads)]))
    else:
        with pytest.raises(ValueError, match="share memory"):
            check_together(grads, list("abcde"[: len(grads)]))


def test_a_skipped_step_leaves_no_gradient_behind() -> None:
    import gradclip_core

    params = kinds_of_gradients.given(
        kinds_of_gradients.sparse(), torch.zeros(0), torch.tensor([math.nan])
    )
    assert gradclip_core.ClipNorm(1.0)(params).skipped
    assert [param.grad for _, param in params] == [None] * 3
