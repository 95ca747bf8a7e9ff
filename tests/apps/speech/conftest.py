"""A corpus so small that the tests train in seconds: tones for words."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile

from apps.speech.utterances import Utterance

RATE = 8000
TONES = {"one": 300.0, "two": 700.0, "three": 1500.0}


def say(text: str, seed: int = 0) -> np.ndarray:
    """A tone of 0.15 s for each word, 0.1 s of noise between them."""
    rng = np.random.default_rng(seed)
    pieces = [0.01 * rng.normal(size=800)]
    for word in text.split():
        time = np.arange(1200) / RATE
        pieces += [0.5 * np.sin(2 * np.pi * TONES[word] * time), 0.01 * rng.normal(size=800)]
    return np.concatenate(pieces)


def write_corpus(folder: Path, count: int = 40, suffix: str = "wav") -> Path:
    """Audio files and the manifest of strings of one to three words by twelve speakers."""
    rng = np.random.default_rng(1)
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for number in range(count):
        text = " ".join(rng.choice(sorted(TONES), rng.integers(1, 4)))
        samples = say(text, number)
        soundfile.write(folder / f"{number}.{suffix}", samples, RATE)
        line = {
            "audio_filepath": f"{number}.{suffix}",
            "text": text,
            "duration": len(samples) / RATE,
            "speaker": f"s{number % 12}",
        }
        lines.append(json.dumps(line))
    manifest = folder / "all.jsonl"
    manifest.write_text("\n".join(lines) + "\n")
    return manifest


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The manifest of a small corpus; read only."""
    return write_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="session")
def tones(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Sequence[str]:
    """Overrides for a training of a few seconds on the corpus."""
    cache = tmp_path_factory.mktemp("features")
    return (
        "app=speech",
        "data=manifest",
        f"data.path={corpus}",
        "data.units=words",
        f"app.cache={cache}",
        "app.batch_size=8",
        "model.hidden_size=16",
        "training.epochs=1",
        "training.min_steps=0",
        "logger=none",
    )


@pytest.fixture
def wav(tmp_path: Path) -> Utterance:
    """A recording of two words."""
    soundfile.write(tmp_path / "a.wav", say("one two"), RATE)
    return Utterance(tmp_path / "a.wav", "one two")
