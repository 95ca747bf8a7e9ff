"""Random numbers whose whole state is a count: the same on every device, rank and resume."""

from __future__ import annotations

import torch
from torch import Tensor

# SplitMix64 (Steele, Lea and Flood 2014, doi:10.1145/2660193.2660195), as signed 64-bit integers.
_STEP = -0x61C8864680B583EB
_MIX = ((30, -0x40A7B892E31B1A47), (27, -0x6B2FB644ECCEEE15))


def uniform(seed: int, drawn: Tensor, size: int) -> Tensor:
    """`size` numbers in [0, 1), float64: those after the first `drawn` (0-d) of the stream `seed`.

    Without a host synchronisation.
    """
    count = drawn + torch.arange(1, size + 1, device=drawn.device)
    state = _mixed(torch.full_like(count, seed % 2**63) * _STEP) + count * _STEP
    return _shifted(_mixed(state), 11).double() * 2.0**-53


def _mixed(state: Tensor) -> Tensor:
    for shift, factor in _MIX:
        state = (state ^ _shifted(state, shift)) * factor
    return state ^ _shifted(state, 31)


def _shifted(state: Tensor, by: int) -> Tensor:
    """A shift to the right that fills with zeros."""
    return (state >> by) & ((1 << (64 - by)) - 1)
