"""PocketSphinx: where it fits, and which words it says."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import Any

from apps.speech.baselines import fits, recognise_words
from apps.speech.features import FrontEnd
from apps.speech.utterances import Utterance


def stand_in(train: list[Utterance], test: list[Utterance], language: str = "en") -> Any:
    """What the baseline reads of a data module."""
    return SimpleNamespace(
        source=SimpleNamespace(language=language),
        utterances={"train": train, "test": test},
        front_end=FrontEnd(),
    )


def test_it_fits_english_words_of_its_dictionary(wav):
    assert fits(stand_in([wav], [wav]))
    assert not fits(stand_in([wav], [wav], language="de"))
    strange = dataclasses.replace(wav, text="one xyzzyq")
    assert not fits(stand_in([wav], [strange]))


def test_it_says_words_of_the_training_vocabulary_alone(wav):
    (text,) = recognise_words(stand_in([wav], [wav]))
    assert set(text.split()) <= {"one", "two"}
