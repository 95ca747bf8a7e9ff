"""The ways to carry a clipper's state into another one."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable

import torch

from gradclip_core import Clipper

COPIES = ("deepcopy", "pickle", "checkpoint")


def copied(kind: str, clipper: Clipper, make: Callable[[], Clipper]) -> Clipper:
    """A clipper that goes on from the state of another: its copy, or a fresh one that loads it."""
    if kind == "deepcopy":
        return copy.deepcopy(clipper)
    if kind == "pickle":
        other: Clipper = pickle.loads(pickle.dumps(clipper))
        return other
    file = io.BytesIO()
    torch.save(clipper.state_dict(), file)
    file.seek(0)
    other = make()
    other.load_state_dict(torch.load(file, weights_only=True))
    return other
