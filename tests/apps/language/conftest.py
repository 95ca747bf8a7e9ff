"""A small file of texts, and a network that learns it in seconds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.conftest import succeed

TINY = (
    "app=language",
    "model.hidden_size=8",
    "model.num_heads=2",
    "model.num_layers=1",
    "training.epochs=2",
    "app.texts_per_epoch=160",
    "app.least_count=2",
    "optimizer.lr=0.02",
    "logger=none",
)


def lines(count: int = 300) -> list[str]:
    """Sentences of a few words, no two of which are near copies."""
    drawn = np.random.default_rng(0)
    words = ["the", "film", "is", "good", "bad", "and", "long", "but", "not", "dull"]
    return [f"{' '.join(drawn.choice(words, 5))} {number}." for number in range(count)]


@pytest.fixture(scope="session")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("texts") / "mine.txt"
    path.write_text("\n".join(lines()) + "\n")
    return path


@pytest.fixture(scope="session")
def tiny_text(texts: Path) -> list[str]:
    """Overrides for a quick training on the file."""
    return [*TINY, "data=text", f"data.path={texts}"]


@pytest.fixture(scope="session")
def trained_text(tiny_text: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run; read only."""
    path = tmp_path_factory.mktemp("trained") / "run"
    succeed("train", *tiny_text, f"run_dir={path}")
    return path
