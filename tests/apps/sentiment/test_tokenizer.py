from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.sentiment.tokenizer import clean, split_words


def forms(text: str) -> list[str]:
    return [word.form for word in split_words(clean(text))]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("   \n\t", []),
        ("I don't LIKE it.", ["i", "do", "n't", "like", "it", "."]),
        ("It\u2019s fine", ["it", "'s", "fine"]),
        # The form in which MR, SST and GloVe write contractions.
        ("it does n't 's", ["it", "does", "n't", "'s"]),
        ("sooooo goooood!!!!", ["soo", "good", "!!"]),
        ("wow! hm...", ["wow", "!", "hm", "..."]),
        ("<p>Good<br />value &amp; more</p>", ["good", "value", "&", "more"]),
        (
            "I <3 it :-) but :( 3 < 4",
            ["i", "<3", "it", ":-)", "but", ":(", *["<number>", "<", "<number>"]],
        ),
        ("@bob see http://x.org/a?b=1", ["<user>", "see", "<url>"]),
        ("9.50 on 12/10", ["<number>", "on", "<number>"]),
        (
            "caf\u00e9 \u041f\u0440\u0438\u0432\u0435\u0442",
            ["caf\u00e9", "\u043f\u0440\u0438\u0432\u0435\u0442"],
        ),
        ("\u65e5\u672c\u8a9e", ["\u65e5", "\u672c", "\u8a9e"]),
        ("nice \U0001f600\U0001f600", ["nice", "\U0001f600", "\U0001f600"]),
        # One form for what may be written as a letter and an accent.
        ("cafe\u0301", ["caf\u00e9"]),
        # Hindi and Hebrew write vowels as marks, Persian joins parts of a word without a blank.
        (
            "\u0939\u093f\u0928\u094d\u0926\u0940 \u05e9\u05c1\u05dc",
            ["\u0939\u093f\u0928\u094d\u0926\u0940", "\u05e9\u05c1\u05dc"],
        ),
        ("\u0645\u06cc\u200c\u0631\u0648\u0645", ["\u0645\u06cc\u200c\u0631\u0648\u0645"]),
        # Thai puts no blanks between words; a letter keeps the vowel and the tone above it.
        ("\u0e14\u0e35\u0e21\u0e32\u0e01", ["\u0e14\u0e35", "\u0e21", "\u0e32", "\u0e01"]),
        ("x\u00b2", ["x\u00b2"]),
    ],
)
def test_words(text, expected):
    assert forms(text) == expected


@given(st.text(max_size=80))
def test_any_text_has_words_without_spaces_in_order(text):
    content = clean(text)
    words = split_words(content)
    assert all(word.form and not word.form.isspace() for word in words)
    ends = [0, *(place for word in words for place in (word.start, word.end)), len(content)]
    assert ends == sorted(ends)
