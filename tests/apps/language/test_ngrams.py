"""Character n-grams against the formula, taken literally."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.language.alphabet import END
from apps.language.ngrams import WittenBell

SIZE = 6


def literal(texts, k, history, sign):
    """p_k(sign | history) of Witten and Bell, by counting."""
    if k < 0:
        return 1.0 / SIZE
    follow = Counter()
    for ids in texts:
        padded = (*([END] * 9), *ids)
        for place in range(10, len(padded)):
            if padded[place - k : place] == history[len(history) - k :]:
                follow[padded[place]] += 1
    shorter = literal(texts, k - 1, history, sign)
    total, kinds = sum(follow.values()), len(follow)
    return (follow[sign] + kinds * shorter) / (total + kinds) if total else shorter


ids = st.lists(st.integers(3, SIZE - 1), max_size=6).map(lambda inner: [END, *inner, END])


@settings(max_examples=25)
@given(train=st.lists(ids, min_size=1, max_size=5), text=ids)
def test_the_formula(train, text):
    model = WittenBell([np.array(t) for t in train], SIZE, longest=3)
    found = model.nats([np.array(t) for t in (text, text)])
    assert found.shape == (4, 2 * (len(text) - 1))
    padded = (*([END] * 9), *text)
    for k in range(4):
        wanted = [
            literal(train, k, padded[:place], padded[place]) for place in range(10, len(padded))
        ]
        assert np.exp(-found[k]) == pytest.approx(2 * wanted, rel=1e-9)


def test_probabilities_of_all_characters_sum_to_one():
    train = [np.array([END, 3, 4, 3, 4, 5, END])]
    model = WittenBell(train, SIZE, longest=2)
    for history in ([3], [3, 4], [5, 5]):
        likely = [
            np.exp(-model.nats([np.array([END, *history, sign])])[:, -1]) for sign in range(SIZE)
        ]
        assert np.sum(likely, axis=0) == pytest.approx(1.0)


def test_contexts_that_do_not_fit_into_64_bits_are_not_taken():
    assert WittenBell([np.array([END, END])], 500).longest == 6
    assert WittenBell([np.array([END, END])], 2**20).longest == 2
