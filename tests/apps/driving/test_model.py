"""The networks that drive."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from apps.driving.model import ForgetfulDriver, RecurrentDriver

CELLS = ("lstm", "gru", "rnn")


def features(length: int = 7) -> Tensor:
    return torch.randn(3, length, 18, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("cell", CELLS)
def test_decision_by_decision_is_the_whole_episode(cell: str) -> None:
    net = RecurrentDriver(18, cell, 16)  # type: ignore[arg-type]
    whole, _ = net(features())
    state, found = None, []
    for t in range(7):
        output, state = net(features()[:, t : t + 1], state)
        found.append(output)
    for name in whole._fields:
        parts = torch.cat([getattr(output, name) for output in found], dim=1)
        # The same sums in another order: some float32 roundings of numbers of size 1.
        assert torch.allclose(getattr(whole, name), parts, atol=1e-5)


@pytest.mark.parametrize("net", [*CELLS, "mlp"])
def test_what_was_seen_before_matters_to_those_with_a_memory(net: str) -> None:
    made = ForgetfulDriver(18, 16) if net == "mlp" else RecurrentDriver(18, net, 16)  # type: ignore[arg-type]
    torch.nn.init.orthogonal_(made.heads.actor.weight)
    changed = features()
    changed[:, 0] += 1.0
    same = torch.equal(made(features())[0].logits[:, -1], made(changed)[0].logits[:, -1])
    assert same == (net == "mlp")


@pytest.mark.parametrize("net", [*CELLS, "mlp"])
def test_all_actions_are_nearly_equally_likely_at_first(net: str) -> None:
    made = ForgetfulDriver(18) if net == "mlp" else RecurrentDriver(18, net)  # type: ignore[arg-type]
    output, _ = made(features())
    assert output.logits.shape == (3, 7, 5)
    assert output.gaps.shape == output.speeds.shape == (3, 7, 6)
    assert torch.allclose(output.logits.softmax(-1), torch.tensor(0.2), atol=0.02)


def test_sizes_that_cannot_be() -> None:
    with pytest.raises(ValueError, match="hidden_size must be >= 1, got 0"):
        ForgetfulDriver(18, 0)
    with pytest.raises(ValueError, match="cell must be one of"):
        RecurrentDriver(18, "transformer")  # type: ignore[arg-type]
