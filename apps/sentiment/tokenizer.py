"""Text to words, in any language and with any markup."""

from __future__ import annotations

import html
import re
from typing import NamedTuple

_TAG = re.compile(r"</?[A-Za-z][^<>]*>|<!--.*?-->", re.S)
_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_FACE = r"[<>]?[:;=8xX][-o*']?[()\[\]dDpP/\\|@3]+(?!\w)|[()\[\]dD/\\|][-o*']?[:;=](?!\w)"
_WORD = re.compile(
    rf"""
    (?P<url>https?://\S+|www\.\S+)
  | (?P<user>(?<!\w)@\w+)
  | (?P<face>{_FACE}|<3|\^_\^)
  | (?P<number>\d[\d.,:/-]*)
  | (?P<not>\w+?(?=n['\u2019]t\b))
  | (?P<suffix>n['\u2019]t\b|['\u2019](?:s|m|d|re|ve|ll)\b)
  | (?P<cjk>[{_CJK}])
  | (?P<word>[^\W\d_{_CJK}]+)
  | (?P<marks>[!?]+|\.{{2,}}|[.,;:()"-])
  | (?P<sign>[^\w\s])
    """,
    re.X | re.I,
)
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
    a word.
    """
    return [Word(_form(m), m.start(), m.end()) for m in _WORD.finditer(text)]


def _form(match: re.Match[str]) -> str:
    kind, text = match.lastgroup, match.group()
    if kind in ("url", "user", "number"):
        return f"<{kind}>"
    if kind == "marks":
        return "..." if text[:2] == ".." else text[:2]
    if kind == "face":
        return text
    return _LONG.sub(r"\1\1", text.lower().replace("\u2019", "'"))
