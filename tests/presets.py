"""What the tests know about the presets of conf/clipping."""

from __future__ import annotations

# Rules that read the optimizer's state, with an optimizer they serve.
_SUITED: dict[str, str] = {}


def suited(name: str) -> list[str]:
    """Overrides that choose a preset, and an optimizer it serves."""
    optimizer = _SUITED.get(name)
    return [f"clipping={name}", *([f"optimizer={optimizer}"] if optimizer else [])]
