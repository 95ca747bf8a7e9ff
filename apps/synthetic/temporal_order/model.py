"""The recurrent network whose gradients vanish and explode."""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor, nn

Start: TypeAlias = Literal["smart_tanh", "basic_tanh"]

_CONNECTIONS = 15  # of each unit to others, of the start smart_tanh
_RADIUS = 0.95  # spectral radius of the same


class PlainRNN(nn.Module):
    """One layer of tanh units without gates; the class is read off the last state.

    start: the weights at first, as in Pascanu et al. 2013 (the authors' code): `smart_tanh`,
        N(0, 0.01^2) with 15 connections from each unit, scaled to a spectral radius of 0.95;
        `basic_tanh`, N(0, 0.1^2). Biases are zero. Raises ValueError for another.
    """

    def __init__(
        self, num_symbols: int, num_classes: int, hidden_size: int = 50, start: Start = "smart_tanh"
    ) -> None:
        super().__init__()
        if start not in get_args(Start):
            raise ValueError(f"start must be one of {', '.join(get_args(Start))}, got {start!r}")
        self.num_symbols = num_symbols
        self.rnn = nn.RNN(num_symbols, hidden_size, batch_first=True)
        self.head = nn.Linear(hidden_size, num_classes)
        for param in self.parameters():
            deviation = 0.0 if param.ndim < 2 else 0.01 if start == "smart_tanh" else 0.1
            nn.init.normal_(param, std=deviation)
        if start == "smart_tanh":
            _thin(self.rnn.get_parameter("weight_hh_l0"))

    def forward(self, symbols: Tensor) -> Tensor:
        """Scores (B, C) of the classes from symbols (B, T), int64."""
        inputs = nn.functional.one_hot(symbols, self.num_symbols).to(self.head.weight.dtype)
        states, _ = self.rnn(inputs)
        scores: Tensor = self.head(states[:, -1])
        return scores


@torch.no_grad()
def _thin(weight: Tensor) -> None:
    """Leave each unit few connections to others, and scale the spectral radius, in place."""
    size = len(weight)
    for column in range(size):  # torch keeps what a unit gives in columns
        weight[torch.randperm(size)[_CONNECTIONS:], column] = 0.0
    radius = torch.linalg.eigvals(weight).abs().max()
    weight.mul_(_RADIUS / radius.clamp(min=torch.finfo(weight.dtype).tiny))
