"""The documentation site: every public name has an entry in the reference."""

from __future__ import annotations

import re
from pathlib import Path

import gradclip_core
from gradclip_core import functional

ROOT = Path(__file__).parents[1]
REFERENCE = ROOT / "docs" / "reference"
BEYOND = [  # public, but not named in `gradclip_core` itself
    *(f"gradclip_core.functional.{name}" for name in functional.__all__),
    "gradclip_core.keras.clipped_keras",
    "gradclip_core.lightning.GradientClipping",
    "gradclip_core.optimizers.Clipping",
    "gradclip_core.optimizers.clipped",
    "gradclip_core.transformers.GradientClipping",
]


def test_every_public_name_has_one_entry_in_the_reference() -> None:
    pages = "\n".join(page.read_text() for page in REFERENCE.glob("*.md"))
    public = [*BEYOND, *(f"gradclip_core.{name}" for name in gradclip_core.__all__)]
    assert sorted(re.findall(r"^::: ([\w.]+)$", pages, re.M)) == sorted(public)


def test_every_twin_of_an_optimizer_stands_in_the_reference() -> None:
    from gradclip_core import optimizers

    twins = {
        name
        for name, kind in vars(optimizers).items()
        if isinstance(kind, type) and issubclass(kind, optimizers.Clipping)
    } - {"Clipping"}
    page = (REFERENCE / "optimizers.md").read_text()
    assert twins <= set(re.findall(r"`(\w+)`", page))
