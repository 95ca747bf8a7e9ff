"""A small set of one's own, as YesNo is: 60 utterances of eight words, yes or no."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.apps.runs import metrics
from tests.apps.speech.conftest import RATE, say
from tests.conftest import succeed


def write_yes_no(folder: Path) -> Path:
    """60 utterances of one voice, which no line names."""
    rng = np.random.default_rng(0)
    lines = []
    for number in range(60):
        text = " ".join(rng.choice(["one", "two"], 8))
        soundfile.write(folder / f"{number}.wav", say(text, number), RATE)
        lines.append(json.dumps({"audio_filepath": f"{number}.wav", "text": text}))
    manifest = folder / "all.jsonl"
    manifest.write_text("\n".join(lines) + "\n")
    return manifest


@pytest.mark.slow
def test_default_settings_learn_a_small_set(tmp_path: Path) -> None:
    run = tmp_path / "run"
    manifest = write_yes_no(tmp_path)
    given = ("app=speech", "data=manifest", f"data.path={manifest}", "app.cache=null")
    out = succeed("train", *given, f"run_dir={run}")
    assert "2 words of the training transcripts" in out
    assert "training.min_steps=300" in out
    assert metrics(run)["test"]["wer"] == 0
