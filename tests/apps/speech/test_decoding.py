"""Decoders against a search over all paths, and words in time."""

from __future__ import annotations

from collections import defaultdict
from itertools import groupby, product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.errors import UserError
from apps.speech.alphabet import Alphabet
from apps.speech.decoding import Beam, Greedy, Spoken

WORDS = Alphabet("words", ("one", "two"))
LETTERS = Alphabet("characters", (" ", "a", "b"))
ARPA = """\\data\\
ngram 1=5
ngram 2=1

\\1-grams:
-1.0\t<unk>\t0.0
-99.0\t<s>\t0.0
-1.0\t</s>\t0.0
-0.3\tab\t0.0
-0.3\tzebra\t0.0

\\2-grams:
-0.5\t<s>\tab

\\end\\
"""


def sharp(path: list[int], size: int, height: float = 8.0) -> torch.Tensor:
    """Log-probabilities that follow one path."""
    return (height * torch.nn.functional.one_hot(torch.tensor(path), size)).float().log_softmax(-1)


def most_probable(log_probabilities: torch.Tensor) -> tuple[int, ...]:
    """The outputs of the highest probability, summed over all paths that collapse to them."""
    length, size = log_probabilities.shape
    total: dict[tuple[int, ...], float] = defaultdict(float)
    for path in product(range(size), repeat=length):
        outputs = tuple(k for k, _ in groupby(path) if k != 0)
        total[outputs] += float(sum(log_probabilities[t, k] for t, k in enumerate(path)).exp())
    return max(total, key=total.__getitem__)


@pytest.mark.parametrize("decoder", [Greedy(), Beam()])
def test_repeated_outputs_need_a_blank_between_them(decoder):
    assert decoder(sharp([1, 1, 0, 1, 2, 2], 3), WORDS).text == "one one two"
    assert decoder(sharp([0, 0], 3), WORDS).text == ""


@pytest.mark.parametrize("decoder", [Greedy(), Beam()])
def test_characters_make_words(decoder):
    found = decoder(sharp([2, 0, 3, 1, 1, 3, 3, 1], 4), LETTERS)
    assert found.text == "ab b"
    assert [word.word for word in found.words] == ["ab", "b"]
    assert (found.words[0].start, found.words[0].end) == (0, 3)
    assert found.words[1].start == 5


def test_words_in_time():
    assert Greedy()(sharp([0, 1, 1, 0, 2], 3), WORDS).words == (
        Spoken("one", 1, 3),
        Spoken("two", 4, 5),
    )


@settings(max_examples=40)
@given(seed=st.integers(0, 10_000), length=st.integers(1, 5))
def test_the_beam_finds_the_most_probable_outputs(seed, length):
    scores = torch.randn(length, 3, generator=torch.Generator().manual_seed(seed)).log_softmax(-1)
    assert Beam()(scores, WORDS).text == WORDS.join(most_probable(scores))


def test_a_language_model_decides_between_words(tmp_path):
    model = tmp_path / "model.arpa"
    model.write_text(ARPA)
    # "bb" by sound; the model has no other word than "ab" that the alphabet spells.
    heard = sharp([3, 0, 3, 1], 4, 2.0)
    assert Beam()(heard, LETTERS).text == "bb"
    assert Beam(lm=str(model))(heard, LETTERS).text == "ab"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, "no such file"),
        ("nothing", "has no word that the alphabet can spell"),
        (b"\xff\xfe\x00", "characters need a model in ARPA format"),
        ("\\1-grams:\n-1\tab\n\\end\\\n", "not a language model"),
    ],
)
def test_what_is_no_language_model(tmp_path, content, expected):
    path = tmp_path / "model.arpa"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError, match=expected):
        Beam(lm=str(path))(sharp([2], 4), LETTERS)


def test_impossible_beam():
    with pytest.raises(ValueError, match="beam_size must be >= 1"):
        Beam(beam_size=0)
