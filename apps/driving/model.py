"""Networks that drive: observations (B, T, F) to actions, values and beliefs at every decision."""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from apps.base.networks import CELLS, check_cell
from apps.driving.episodes import Choice, Sight
from apps.driving.sensor import SLOTS
from apps.driving.traffic import ACTIONS, SPEED_STEP

Cell: TypeAlias = Literal["lstm", "gru", "rnn"]
State: TypeAlias = Any  # of a recurrent layer: a tensor, two of them, or nothing yet

NUM_FEATURES = 6 + 2 * SLOTS
GAP_SCALE, SPEED_SCALE = 40.0, 10.0  # m and m/s in one unit of a network
_USUAL_SPEED = 25.0  # m/s


class Output(NamedTuple):
    """What a network says at every decision.

    logits: of the actions, (B, T, 5). values: of the state, (B, T). gaps, speeds: of the six cars
    around, in the network's units, (B, T, 6).
    """

    logits: Tensor
    values: Tensor
    gaps: Tensor
    speeds: Tensor


class Heads(nn.Module):
    """Actions, values and beliefs from hidden values (B, T, D).

    The actions start out nearly equally likely (Engstrom et al. 2020, arXiv:2005.12729, on
    orthogonal initialisation and layer scaling).
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.actor = nn.Linear(size, len(ACTIONS))
        self.critic = nn.Linear(size, 1)
        self.perception = nn.Linear(size, 2 * SLOTS)
        for layer, gain in ((self.actor, 0.01), (self.critic, 1.0), (self.perception, 1.0)):
            _start(layer, gain)

    def forward(self, hidden: Tensor) -> Output:
        """All heads on the same values."""
        gaps, speeds = self.perception(hidden).chunk(2, dim=-1)
        return Output(self.actor(hidden), self.critic(hidden)[..., 0], gaps, speeds)


class RecurrentDriver(nn.Module):
    """A recurrent layer over the decisions of an episode, which remembers what was seen.

    cell: lstm, gru or rnn (tanh). hidden_size: width of all layers. Raises ValueError for another
    cell or a width below 1.
    """

    def __init__(self, num_features: int, cell: Cell = "lstm", hidden_size: int = 64) -> None:
        super().__init__()
        _check_width(hidden_size)
        self.encoder = nn.Sequential(nn.Linear(num_features, hidden_size), nn.Tanh())
        self.memory = CELLS[check_cell(cell)](hidden_size, hidden_size, batch_first=True)
        self.heads = Heads(hidden_size)
        _start(self.encoder[0], math.sqrt(2))
        for param in self.memory.parameters():
            nn.init.orthogonal_(param) if param.ndim > 1 else nn.init.zeros_(param)

    def forward(self, features: Tensor, state: State = None) -> tuple[Output, State]:
        """What is said of features (B, T, F), and the state after the last of them."""
        hidden, state = self.memory(self.encoder(features), state)
        return self.heads(hidden), state


class ForgetfulDriver(nn.Module):
    """A dense network that knows the present observation alone.

    hidden_size: width of both layers. Raises ValueError for one below 1.
    """

    def __init__(self, num_features: int, hidden_size: int = 64) -> None:
        super().__init__()
        _check_width(hidden_size)
        first, second = nn.Linear(num_features, hidden_size), nn.Linear(hidden_size, hidden_size)
        self.body = nn.Sequential(first, nn.Tanh(), second, nn.Tanh())
        self.heads = Heads(hidden_size)
        for layer in (first, second):
            _start(layer, math.sqrt(2))

    def forward(self, features: Tensor, state: State = None) -> tuple[Output, State]:
        """What is said of features (B, T, F); there is no state."""
        return self.heads(self.body(features)), None


def _start(layer: nn.Module, gain: float) -> None:
    assert isinstance(layer, nn.Linear)
    nn.init.orthogonal_(layer.weight, gain)
    nn.init.zeros_(layer.bias)


def _check_width(hidden_size: int) -> None:
    if hidden_size < 1:
        raise ValueError(f"hidden_size must be >= 1, got {hidden_size}")


def encode(sight: Sight) -> Tensor:
    """What a network knows of B cars: features (B, F), float32."""
    seen, gaps = sight.detected
    own = (
        (sight.speed - _USUAL_SPEED) / SPEED_STEP,
        (sight.wish - _USUAL_SPEED) / SPEED_STEP,
        sight.aside,
        sight.lane > 0,
        sight.lane < sight.lanes - 1,
        sight.lane / (sight.lanes - 1),
    )
    columns = [np.stack(own, axis=1), seen, gaps / GAP_SCALE]
    return torch.from_numpy(np.concatenate(columns, axis=1).astype(np.float32))


class Learned:
    """A network at the wheel, which takes the likeliest action, or draws one with a generator.

    `finite` says whether all its logits have been so far; where they are not, the action means
    nothing.
    """

    by_rule = False

    def __init__(self, net: nn.Module, generator: torch.Generator | None = None) -> None:
        self.net = net
        self.generator = generator
        self.finite = True
        self.features: list[Tensor] = []
        self.logits: list[Tensor] = []
        self.values: list[Tensor] = []
        self._state: State = None

    @torch.no_grad()
    def decide(self, sight: Sight) -> Choice:
        """Choose an action for each car."""
        features = encode(sight)
        device = next(self.net.parameters()).device
        output, self._state = self.net(features[:, None].to(device), self._state)
        logits, values, gaps, speeds = (part[:, 0].float().cpu() for part in output)
        self.finite = self.finite and bool(logits.isfinite().all())
        self.features.append(features)
        self.logits.append(logits)
        self.values.append(values)
        believed = GAP_SCALE * gaps.double().numpy(), SPEED_SCALE * speeds.double().numpy()
        return Choice(self._actions(logits).numpy(), *believed)

    def _actions(self, logits: Tensor) -> Tensor:
        """Actions (B,): drawn by adding Gumbel noise (Maddison, Tarlow and Minka 2014)."""
        if self.generator is not None:
            uniform = torch.rand(logits.shape, generator=self.generator)
            tiny = torch.finfo(uniform.dtype).tiny
            logits = logits - (-uniform.clamp(min=tiny).log()).clamp(min=tiny).log()
        return logits.argmax(dim=-1)
