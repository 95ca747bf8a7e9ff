"""A small file of reviews, and a network that learns it in seconds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.conftest import succeed

GOOD = ["good", "great", "lovely", "superb", "fine"]
BAD = ["bad", "awful", "poor", "dreadful", "broken"]
THINGS = ["camera", "film", "phone", "story", "battery", "actor", "screen", "plot"]

TINY = (
    "app=sentiment",
    "model.hidden_size=8",
    "model.embedding_size=8",
    "training.epochs=3",
    "training.min_steps=0",
    "app.batch_size=16",
    "optimizer.lr=0.02",
    "logger=none",
)


def reviews(rows: int = 400) -> pd.DataFrame:
    """Reviews with a rating from 1 to 5, a label, a domain and the document each is part of."""
    rng = np.random.default_rng(0)
    stars = rng.integers(1, 6, size=rows)
    words = [{1: BAD, 2: BAD, 3: ["plain"], 4: GOOD, 5: GOOD}[star] for star in stars]
    return pd.DataFrame(
        {
            "text": [
                f"The {rng.choice(THINGS)} is {rng.choice(words[i])}, part {'x' * (i % 7)} of it"
                for i in range(rows)
            ],
            "stars": stars,
            "label": np.select([stars < 3, stars > 3], ["bad", "good"], "so-so"),
            "kind": np.where(np.arange(rows) % 3 > 0, "shop", "cinema"),
            "review": np.arange(rows) // 2,
        }
    )


@pytest.fixture(scope="session")
def reviews_csv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("texts") / "reviews.csv"
    reviews().to_csv(path, index=False)
    return path


@pytest.fixture(scope="session")
def rated(reviews_csv: Path) -> list[str]:
    """Overrides for a quick training on ratings."""
    columns = ["data.rating=stars", "data.domain=kind", "data.document=review"]
    return [*TINY, "data=csv", f"data.path={reviews_csv}", *columns]


@pytest.fixture(scope="session")
def labelled(reviews_csv: Path) -> list[str]:
    """Overrides for a quick training on three classes."""
    return [*TINY, "data=csv", f"data.path={reviews_csv}", "data.label=label", "training.epochs=8"]


@pytest.fixture(scope="session")
def rated_run(rated: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rated") / "run"
    succeed("train", *rated, f"run_dir={path}")
    return path


@pytest.fixture(scope="session")
def labelled_run(labelled: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("labelled") / "run"
    succeed("train", *labelled, f"run_dir={path}")
    return path
