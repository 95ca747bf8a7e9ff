"""Utterances, and the transcripts that they are compared with."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from apps.errors import UserError

Part = Literal["train", "val", "test"]

# The ways to write an apostrophe, which are one letter to a recogniser.
_APOSTROPHES = dict.fromkeys(map(ord, "\u2018\u2019\u02bc\u00b4`\uff07"), "'")
# Marks that nobody sees or says: of the order of bytes, and of where a word may be broken.
_UNSEEN = dict.fromkeys(map(ord, "\ufeff\u200b\u00ad"))


@dataclass(frozen=True, slots=True)
class Utterance:
    """What one speaker says: a recording, or a segment of one, and its normalised transcript.

    text, speaker: "" if unknown. offset: seconds at which the segment begins; None where the
    utterance is a whole recording. duration: in seconds, where it is told.
    """

    path: Path
    text: str = ""
    speaker: str = ""
    duration: float | None = None
    offset: float | None = None


Corpus = Mapping[Part, list[Utterance]]


def normalize(text: str) -> str:
    """Lower case in Unicode's composed form (NFC), one kind of apostrophe, single blanks."""
    lowered = unicodedata.normalize("NFC", text.translate(_APOSTROPHES | _UNSEEN).lower())
    return " ".join(lowered.split())


def as_text(where: str, name: str, value: Any) -> str:
    """A field of a manifest as text; "" where it is missing.

    Null, NaN and a blank are missing; whole numbers are written without a fraction. UserError for
    anything but a text or a number.
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise UserError(f"{where}: {name}={value!r}: must be a text")
    return str(value).strip()


def as_seconds(where: str, name: str, value: Any, *, positive: bool = False) -> float | None:
    """A field of a manifest as seconds; None where it is missing. UserError for other values."""
    text = as_text(where, name, value)
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not math.isfinite(seconds) or seconds < 0 or (positive and seconds == 0):
        limit = "> 0" if positive else ">= 0"
        raise UserError(f"{where}: {name}={value!r}: must be a number of seconds {limit}")
    return seconds
