"""Error rates worked by hand and against jiwer on whole lists."""

from __future__ import annotations

import jiwer
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.speech.metrics import count_errors, scores

TEXT = st.lists(st.sampled_from(["one", "two", "three"]), min_size=1, max_size=5).map(" ".join)
HEARD = st.lists(st.sampled_from(["one", "two", "three"]), max_size=5).map(" ".join)


def test_errors_are_worked_by_hand():
    counts = count_errors(["one two three", "one"], ["one three three four", "one"])
    assert counts["substitutions"].tolist() == [1, 0]
    assert counts["insertions"].tolist() == [1, 0]
    found = scores(counts)
    assert found["wer"] == pytest.approx(100 * 2 / 4)
    assert found["ser"] == pytest.approx(50)
    assert found["wer_low"] <= found["wer"] <= found["wer_high"]


@settings(max_examples=30)
@given(st.lists(st.tuples(TEXT, HEARD), min_size=1, max_size=6))
def test_rates_equal_jiwer(pairs):
    said, heard = map(list, zip(*pairs, strict=True))
    found = scores(count_errors(said, heard))
    assert found["wer"] == pytest.approx(100 * jiwer.wer(said, heard))
    assert found["cer"] == pytest.approx(100 * jiwer.cer(said, heard))
    assert found["ser"] == pytest.approx(100 * np.mean([a != b for a, b in pairs]))


def test_the_interval_covers_as_often_as_it_says():
    # 200 utterances of one word, a tenth of them wrong: the binomial interval is 10 +- 4.2.
    heard = ["six" if i % 10 == 0 else "two" for i in range(200)]
    found = scores(count_errors(["two"] * 200, heard))
    assert found["wer_low"] == pytest.approx(5.8, abs=1)
    assert found["wer_high"] == pytest.approx(14.2, abs=1)
    # Where each has three letters, all of them wrong, characters are wrong as often as words.
    assert found["cer_low"] == pytest.approx(found["wer_low"])
    assert found["cer_high"] == pytest.approx(found["wer_high"])


def test_nothing_recognised_is_all_wrong():
    assert scores(count_errors(["one two"], [""]))["wer"] == 100
