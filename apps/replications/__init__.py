"""Published results, repeated: what a comparison says about the claims of a paper."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeAlias

from apps.replications import autoclip, heavy_tails, pascanu2013, spectral
from apps.replications.claims import Repetition
from apps.report.model.results import Results

Repeat: TypeAlias = Callable[[Results, Path], Repetition]

EXPERIMENTS: Mapping[str, Repeat] = {
    "pascanu2013": pascanu2013.repeat,
    "heavy_tails": heavy_tails.repeat,
    "autoclip": autoclip.repeat,
    "spectral": spectral.repeat,
}


def repeat(experiment: str | None, results: Results, folder: Path) -> Repetition | None:
    """What the runs of a comparison in a folder say, where its experiment repeats a paper's."""
    of = EXPERIMENTS.get(experiment or "")
    return of(results, folder) if of else None
