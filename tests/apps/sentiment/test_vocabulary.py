from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from apps.sentiment.vectors import Table, align
from apps.sentiment.vocabulary import PADDING, UNKNOWN, Words, WordVocabulary, cut


def test_frequent_words_come_first_and_rare_ones_are_unknown():
    vocabulary = Words(min_count=2, max_size=10).build(["b a b", "a b c", "d d"])
    assert vocabulary.words == ("b", "a", "d")
    assert vocabulary.encode("a c b never", 9).tolist() == [3, UNKNOWN, 2, UNKNOWN]
    assert Words(2, max_size=1).build(["b a b a d d d"]).words == ("d",)


def test_extra_words_follow_those_of_training():
    vocabulary = Words(1, 10).build(["a a"], extra=["the", "a", "of"])
    assert (vocabulary.words, vocabulary.extra) == (("a",), ("the", "of"))
    assert (vocabulary.num_trained, len(vocabulary)) == (3, 5)
    vectors = np.arange(6, dtype=np.float32).reshape(3, 2)
    table = Table(["of", "a", "other"], vectors, [])
    assert align(vocabulary, table).tolist() == [[0, 0], [0, 0], [2, 3], [0, 0], [0, 1]]


def test_no_text_is_number_zero():
    vocabulary = WordVocabulary(["a"])
    assert PADDING not in vocabulary.encode("a b c", 9)
    assert len(vocabulary.encode("", 9)) == 0


@given(st.lists(st.integers()), st.integers(1, 9))
def test_a_long_text_keeps_both_ends(words, length):
    found = cut(words, length)
    assert len(found) == min(len(words), length)
    if len(words) > length:
        head = (length + 1) // 2
        assert found == words[:head] + words[len(words) - (length - head) :]
