"""Records with a known answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from gradclip_core.advice import Record

CALM = 0.15  # deviation of a log-norm that stands out nowhere


def lognormal(steps: int = 150, seed: int = 0, sd: float = CALM, level: float = 1.0) -> np.ndarray:
    """Calm norms around a level."""
    return level * np.random.default_rng(seed).lognormal(0.0, sd, steps)


def record_of(
    norms: Any, shares: Sequence[float] = (0.6, 0.4), unit_ratios: Any = None, ranks: Any = 1.0
) -> Record:
    """A record of two modules or more that have fixed shares of the squared norm.

    ranks: stable ranks of all gradients, one number or one for each step.
    """
    whole = torch.as_tensor(np.asarray(norms), dtype=torch.float64)
    each = whole.unsqueeze(1) * torch.tensor(shares, dtype=torch.float64).sqrt()
    stable = torch.as_tensor(np.asarray(ranks), dtype=torch.float64).expand(len(whole))
    singular = each / stable.sqrt().unsqueeze(1)
    names = tuple(f"part{i}.weight" for i in range(len(shares)))
    units = (
        torch.full_like(whole, torch.nan) if unit_ratios is None else torch.as_tensor(unit_ratios)
    )
    modules = {f"part{i}": (i,) for i in range(len(shares))}
    return Record(whole, each, singular, torch.ones_like(each), units, names, modules)
