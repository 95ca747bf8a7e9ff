"""Text to words, in any language and with any markup."""

from __future__ import annotations

import html
import re
import unicodedata
from typing import NamedTuple

import regex

_TAG = re.compile(r"</?[A-Za-z][^<>]*>|<!--.*?-->", re.S)
# Scripts that put no blank between words: one sign of Chinese or Japanese, and one cluster of a
# letter with its vowels and tones of the others, is read as a word.
_CJK = r"\p{Han}\p{Hiragana}\p{Katakana}\u30fc"
_CLUSTERED = r"\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
# A letter, or a number that is no decimal digit, with the marks that belong to it.
_LETTER = rf"(?:(?=[\p{{L}}\p{{Nl}}\p{{No}}])[^{_CJK}{_CLUSTERED}]\p{{M}}*)"
# Between letters, as in Persian and Hindi; between emoji they are signs like these.
_JOINERS = "[\u200c\u200d]"
_SELECTORS = "\u200c\u200d\u20e3\ufe0f"
_FACE = r"[<>]?[:;=8xX][-o*']?[()\[\]dDpP/\\|@3]+(?!\w)|[()\[\]dD/\\|][-o*']?[:;=](?!\w)"
_WORD = regex.compile(
    rf"""
    (?P<url>https?://\S+|www\.\S+)
  | (?P<user>(?<!\w)@\w+)
  | (?P<face>{_FACE}|<3|\^_\^)
  | (?P<number>\d[\d.,:/-]*)
  | (?P<not>\w+?(?=n['\u2019]t\b))
  | (?P<suffix>n['\u2019]t\b|['\u2019](?:s|m|d|re|ve|ll)\b)
  | (?P<cjk>[{_CJK}]|(?=[{_CLUSTERED}])(?=\p{{L}})\X)
  | (?P<word>{_LETTER}(?:{_JOINERS}?{_LETTER})*)
  | (?P<marks>[!?]+|\.{{2,}}|[.,;:()"-])
  | (?P<sign>[^\p{{L}}\p{{N}}\p{{M}}\s_\x1c-\x1f]|[{_SELECTORS}])
    """,
    regex.X | regex.I,
)
_SIGN = regex.compile(rf"[{_CJK}{_CLUSTERED}]")
_LONG = re.compile(r"(\w)\1{2,}")


class Word(NamedTuple):
    """A word as the network reads it, and where it stands in the cleaned text."""

    form: str
    start: int
    end: int


def clean(text: str) -> str:
    """The text without HTML tags and with entities resolved; `I <3 it` keeps its heart."""
    return html.unescape(_TAG.sub(" ", text))


def split_words(text: str) -> list[Word]:
    """Words of a cleaned text: lower case, contractions apart, faces and emoji kept.

    Addresses become <url>, @names <user> and numbers <number>; a letter repeated three times
    or more stands twice; a run of ! or ? is one word; each Chinese or Japanese character is
    a word, and so is each letter of Thai, Lao, Khmer and Burmese with the marks around it.
    """
    return [Word(_form(m), m.start(), m.end()) for m in _WORD.finditer(text)]


def is_sign(form: str) -> bool:
    """Whether a word is a sign of a script that puts no blank between words."""
    return _SIGN.match(form) is not None


def _form(match: regex.Match[str]) -> str:
    kind: str | None = match.lastgroup
    text: str = match.group()
    if kind in ("url", "user", "number"):
        return f"<{kind}>"
    if kind == "marks":
        return "..." if text[:2] == ".." else text[:2]
    if kind == "face":
        return text
    plain = unicodedata.normalize("NFC", text.lower().replace("\u2019", "'"))
    return _LONG.sub(r"\1\1", plain)
