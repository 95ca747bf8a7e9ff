"""Clip gradients of every kind by rules of every kind, and tell how each ended.

    python -m tests.core.parts.hostile

A line of JSON for each kind and rule: what the clipper returned, or its error. It runs in a
process of its own, which a tensor without memory may kill.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import torch

from tests.core.parts.kinds_of_gradients import COMPLEX, INSIDE, REFUSED, TAKEN, Params


def rules() -> dict[str, Callable[[], Any]]:
    """Rules that go every way through the core."""
    import gradclip_core as g

    return {
        "norm": lambda: g.ClipNorm(0.1, eps=0.0),
        "parameter": lambda: g.ClipNorm(0.1, by="parameter", eps=0.0),
        "row": lambda: g.ClipNorm(0.1, by="row", eps=0.0),
        "third norm": lambda: g.ClipNorm(0.1, norm_type=3.0, eps=0.0),
        "largest": lambda: g.ClipNorm(0.1, norm_type=float("inf"), eps=0.0),
        "rms": lambda: g.ClipNorm(0.1, measure="rms", eps=0.0),
        "adaptive": lambda: g.ClipNorm(g.Percentile(10), by="parameter"),
        "value": lambda: g.ClipValue(0.1),
        "pair": lambda: g.ClipValue((-0.1, 0.2)),
        "nothing": lambda: g.NoClip(),
    }


def outcome(kind: Any, make: Callable[[], Any], *, inside: bool = False) -> dict[str, Any]:
    """What clipping gradients of a kind came to."""
    try:
        clip = make()
        if inside:
            kind(clip)
            return {"norm": None}
        params: Params = kind()
        report = clip(params)
        grads = [param.grad for _, param in params if param.grad is not None]
        dense = [g.detach().to_dense() if g.is_sparse else g.detach() for g in grads]
        wide = [torch.view_as_real(g.resolve_conj()) if g.is_complex() else g for g in dense]
        after = [g.double().resolve_neg().flatten().tolist() for g in wide]
        return {"norm": report.norm.item(), "after": after}
    except Exception as error:
        return {"error": type(error).__name__, "message": str(error)}


def main() -> None:
    """Clip every kind by every rule."""
    torch.manual_seed(0)
    for rule, make in rules().items():
        for name, kind in (TAKEN | COMPLEX | {k: v[0] for k, v in REFUSED.items()}).items():
            print(json.dumps([name, rule]), flush=True)  # what was begun, should it be the last
            print(json.dumps(outcome(kind, make)), flush=True)
        for name, inside in INSIDE.items():
            print(json.dumps([name, rule]), flush=True)
            print(json.dumps(outcome(inside, make, inside=True)), flush=True)


if __name__ == "__main__":
    main()
