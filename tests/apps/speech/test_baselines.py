"""PocketSphinx: where it fits, and which words it says."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import soundfile
from scipy.signal import lfilter

from apps.speech.baselines import RATE, fits, pocketsphinx
from apps.speech.features import FrontEnd
from apps.speech.utterances import Utterance
from data_scripts.speech_espeak import DIGITS

ARPA = """\\data\\
ngram 1=3

\\1-grams:
-0.5\t</s>\t0.0
-99.0\t<s>\t0.0
-0.3\txyzzyq\t0.0

\\end\\
"""


def ah() -> np.ndarray:
    """The vowel of "hot" at RATE, by its formants, between silences."""
    sound = np.zeros(6400)
    sound[:: RATE // 120] = 1
    for frequency, width in ((700, 90), (1200, 110), (2600, 160)):
        radius = np.exp(-np.pi * width / RATE)
        angle = 2 * np.pi * frequency / RATE
        sound = lfilter([1], [1, -2 * radius * np.cos(angle), radius**2], sound)
    silence = 1e-3 * np.random.default_rng(0).normal(size=4800)
    return np.r_[silence, 0.3 * sound / np.abs(sound).max(), silence]


def stand_in(
    train: list[Utterance],
    test: list[Utterance],
    language: str = "en",
    language_model: Path | None = None,
    dictionary: Path | None = None,
) -> Any:
    """What the baseline reads of a data module."""
    return SimpleNamespace(
        source=SimpleNamespace(
            language=language, language_model=language_model, dictionary=dictionary
        ),
        utterances={"train": train, "test": test},
        front_end=FrontEnd(),
    )


def test_it_fits_english_words_of_its_dictionary(wav):
    assert fits(stand_in([wav], [wav]))
    assert not fits(stand_in([wav], [wav], language="de"))
    strange = dataclasses.replace(wav, text="one xyzzyq")
    assert not fits(stand_in([wav], [strange]))


def test_it_fits_the_spoken_digits(wav):
    said = dataclasses.replace(wav, text=" ".join(DIGITS))
    assert fits(stand_in([said], [said]))


def test_it_says_words_of_the_training_vocabulary_alone(wav):
    found = pocketsphinx(stand_in([wav], [wav]))
    (text,) = found.predictions["hypothesis"]
    assert set(text.split()) <= {"one", "two"}
    assert found.metrics["rtf"] > 0


def test_it_takes_the_words_and_the_language_model_of_the_data(wav, tmp_path):
    own, model = tmp_path / "own.dict", tmp_path / "own.arpa"
    own.write_text("xyzzyq AA\n")
    model.write_text(ARPA)
    said = dataclasses.replace(wav, text="xyzzyq")
    soundfile.write(said.path, ah(), RATE)
    data = stand_in([said], [said], language_model=model, dictionary=own)
    assert fits(data)
    assert not fits(stand_in([said], [said], language_model=model))
    assert not fits(stand_in([wav], [wav], dictionary=own))
    (text,) = pocketsphinx(data).predictions["hypothesis"]
    assert set(text.split()) == {"xyzzyq"}
