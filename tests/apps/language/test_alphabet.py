"""Characters as numbers, and long texts in pieces."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.errors import UserError
from apps.language.alphabet import END, PADDING, UNKNOWN, Alphabet, cut


def test_rare_characters_are_one_unknown_character():
    alphabet = Alphabet.of(["aab", "abcc", "b"], 8, "text", least=3, most=9)
    assert alphabet.characters == "ab"
    assert len(alphabet) == 5
    assert alphabet.encode("abc!").tolist() == [END, 3, 4, UNKNOWN, UNKNOWN, END]
    assert alphabet.encode("").tolist() == [END, END]


def test_the_most_frequent_characters_are_kept():
    assert Alphabet.of(["abbccc"], 8, "text", least=1, most=2).characters == "bc"


def test_an_alphabet_is_kept_with_a_run():
    alphabet = Alphabet("ab\n\u00e9", 16, "review")
    assert Alphabet.from_dict(alphabet.to_dict()) == alphabet
    for broken in ({}, {"characters": "ab", "context": "x", "text": "t"}, None):
        with pytest.raises(UserError, match="holds no alphabet"):
            Alphabet.from_dict(broken)


@settings(max_examples=50)
@given(length=st.integers(0, 60), context=st.integers(2, 20))
def test_each_character_is_the_target_of_one_piece_with_what_went_before(length, context):
    ids = np.array([END, *range(3, 3 + length), END])
    found = []
    for number, piece in enumerate(cut(ids, context)):
        assert len(piece.inputs) == len(piece.targets) <= context
        for place, target in enumerate(piece.targets):
            if target != PADDING:
                found.append(target)
                seen = piece.inputs[: place + 1]
                at = len(found)
                assert seen.tolist() == ids[at - len(seen) : at].tolist(), "those just before it"
                assert number == 0 or place >= context - max(context // 2, 1)
    assert found == ids[1:].tolist()
