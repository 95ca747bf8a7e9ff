from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.speech.alphabet import Alphabet, fit_alphabet, least_frames
from apps.speech.utterances import Utterance

TEXTS = ["one two", "three one", "two"]


# Three words; the letters e h n o r t w and the blank between words; CTC's blank beside them.
@pytest.mark.parametrize(("units", "size"), [("words", 4), ("characters", 9)])
def test_texts_survive_a_round_trip(units, size):
    alphabet = fit_alphabet([Utterance(Path(), text) for text in TEXTS], units)
    assert alphabet.size == size
    for text in TEXTS:
        outputs = alphabet.encode(text)
        assert min(outputs) >= 1
        assert max(outputs) < alphabet.size
        assert alphabet.join(outputs) == alphabet.join([0, *outputs, 0]) == text


@pytest.mark.parametrize(
    ("units", "text", "known", "unknown"),
    [
        ("words", "one four two five", "one two", ["four", "five"]),
        ("characters", "one two fux", "one two", ["f", "u", "x"]),
    ],
)
def test_what_is_not_in_the_alphabet_is_left_out_and_named(units, text, known, unknown):
    alphabet = fit_alphabet([Utterance(Path(), text) for text in TEXTS], units)
    assert alphabet.join(alphabet.encode(text)) == known
    assert alphabet.unknown(text) == unknown


@given(st.lists(st.integers(1, 3), max_size=8))
def test_least_frames_is_what_ctc_needs(outputs):
    # A path of frames that collapses to the outputs, built greedily.
    path: list[int] = []
    for output in outputs:
        path += [0, output] if path and path[-1] == output else [output]
    assert least_frames(outputs) == len(path)


@pytest.mark.parametrize(
    ("texts", "units"),
    [
        (["yes no no yes"] * 5, "words"),  # as the set YesNo has them: two words, ten times each
        (["yes no no yes"] * 4 + ["yes no"], "characters"),  # nine times each
        (["yes no no yes"] * 10 + ["noo"], "words"),  # one slip of a pen
        ([f"w{number}" for number in range(100)] * 10, "words"),
        ([f"w{number}" for number in range(101)] * 10, "characters"),
        (["the quick brown fox", "jumps over the lazy dog"], "characters"),
    ],
)
def test_units_suit_the_vocabulary(texts, units):
    assert fit_alphabet([Utterance(Path(), text) for text in texts]).units == units


def test_unknown_units():
    with pytest.raises(ValueError, match="units must be one of words, characters"):
        Alphabet("phones", ("a",))
