"""N-grams: those of scikit-learn with its weights, a text without one of its words, any length."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy import sparse
from sklearn.feature_extraction.text import TfidfVectorizer

from apps.sentiment.ngrams import Ngrams, forms_of, ngrams_of
from tests.apps.sentiment.conftest import reviews

HOTEL = "\u5f88\u597d\u7684\u9152\u5e97"  # a very good hotel, five signs
MIXED = f"We saw it: {HOTEL} not good, not good"


def test_ngrams_by_hand():
    found = list(ngrams_of(forms_of("Not good!")))
    letters = ["#^no", "#not", "#ot$", "#^not", "#not$"]
    letters += ["#^go", "#goo", "#ood", "#od$", "#^goo", "#good", "#ood$", "#^good", "#good$"]
    assert found == ["not", "good", "!", "not good", "good !", *letters]


def test_signs_in_a_row_take_the_place_of_letters():
    found = list(ngrams_of(forms_of(HOTEL)))
    assert found[:5] == list(HOTEL)
    assert found[5:9] == [f"{a} {b}" for a, b in itertools.pairwise(HOTEL)]
    assert found[9:] == [" ".join(HOTEL[i : i + 3]) for i in range(3)]
    # One Russian letter is a word like any other.
    assert "\u0438 \u0432 \u043e" not in list(ngrams_of(forms_of("\u0438 \u0432 \u043e")))


def test_names_and_weights_are_scikit_learns():
    texts, others = reviews()["text"], ["The superb phone", "nothing known: zzz qqq", ""]
    oracle = TfidfVectorizer(analyzer=lambda text: list(ngrams_of(forms_of(text))), min_df=2)
    expected = oracle.fit(texts).transform([*texts, *others])
    found = Ngrams.fit(texts, min_texts=2, max_size=10**6)
    assert found.names == tuple(oracle.get_feature_names_out())
    # The same float64 operations in another order: a few units in the last place.
    gap = abs(found.weigh([*texts, *others]) - expected).max()
    assert gap < 1e-14


def test_the_most_frequent_are_kept():
    texts = ["a b", "a b", "a c", "a"]
    assert Ngrams.fit(texts, min_texts=1, max_size=2).names == ("a", "a b")
    assert Ngrams.fit(texts, min_texts=3, max_size=9).names == ("a",)


@given(st.lists(st.sampled_from([*HOTEL, "not", "good", ",", "so", "x"]), min_size=1, max_size=12))
@example(forms_of(MIXED))
def test_a_text_without_a_word_is_the_halves_beside_it(words):
    text = " ".join(words)
    forms = forms_of(text)
    known = Ngrams.fit([MIXED, text, "so good"], min_texts=1, max_size=10**6)
    found = known.weigh_without(text, range(len(forms))).toarray()
    numbers = {name: number for number, name in enumerate(known.names)}
    rarity = np.log((1 + known.num_texts) / (1 + np.array(known.texts))) + 1
    for place, row in enumerate(found[1:]):
        counts = np.zeros(len(known))
        for half in (forms[:place], forms[place + 1 :]):
            for name in ngrams_of(half):
                counts[numbers[name]] += 1
        weights = counts * rarity
        length = np.linalg.norm(weights)
        # Of at most 100 n-grams each within a few units in the last place.
        np.testing.assert_allclose(row, weights / length if length else weights, atol=1e-14)
    assert (found[0] == known.weigh([text]).toarray()[0]).all()


def test_a_record_gives_the_same_weights_to_the_last_bit():
    texts = reviews()["text"]
    known = Ngrams.fit(texts, min_texts=2, max_size=50)
    again = Ngrams.from_dict(json.loads(json.dumps(known.to_dict())))
    assert again == known
    assert (again.weigh(texts) != known.weigh(texts)).nnz == 0
    with pytest.raises(ValueError, match="2 n-grams with 1 counts"):
        Ngrams.from_dict({"names": ["a", "b"], "texts": [1], "num_texts": 3})


def test_where_nothing_is_known_everything_weighs_nothing():
    known = Ngrams.fit(["one", "other"], min_texts=2, max_size=9)
    assert len(known) == 0
    assert known.weigh(["one", ""]).shape == (2, 0)
    assert known.weigh_without("one more", [0, 1]).shape == (3, 0)
    some = Ngrams.fit(["one", "one"], min_texts=2, max_size=9)
    assert some.weigh_without("zzz", [0]).nnz == 0


def test_a_word_as_long_as_a_picture_is_no_burden():
    found = list(ngrams_of(["x" * 10**6]))
    assert len(found) == 1 + 3 * 66 - (2 + 3 + 4)
    assert isinstance(Ngrams.fit(["a", "a"], 1, 9).weigh(["a"]), sparse.csr_matrix)
