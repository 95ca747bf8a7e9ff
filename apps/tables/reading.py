"""What a user may say about a table where reading it leaves something open."""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from dataclasses import dataclass, replace

SIGNS = {"comma": ",", "point": ".", "semicolon": ";", "tab": "\t", "pipe": "|", "blank": " "}
_NAMES = {sign: name for name, sign in SIGNS.items()}


def sign_name(sign: str) -> str:
    """A sign in the word that an option takes: `semicolon` for `;`."""
    return _NAMES.get(sign, sign)


@dataclass(frozen=True, slots=True)
class Reading:
    """How to read a table; None leaves a point to detection.

    columns: names of the columns of a table without a header. sep: between cells, a sign or one
    of comma, semicolon, tab, pipe, blank. decimal: the decimal sign, comma or point. dayfirst:
    whether 01/02/2024 is in February. encoding: such as utf-8 or cp1252. sheet: of an Excel file.
    missing: further words for a missing value; None: the application takes none. seen_decimal,
    seen_dayfirst: what another table of the same origin had; taken where this one alone would be
    ambiguous.

    Raises ValueError for a value that is none of these.
    """

    columns: Sequence[str] | None = None
    sep: str | None = None
    decimal: str | None = None
    dayfirst: bool | None = None
    encoding: str | None = None
    sheet: str | None = None
    missing: Sequence[str] | None = ()
    seen_decimal: str | None = None
    seen_dayfirst: bool | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "sep", _sign(self.sep))
        object.__setattr__(self, "decimal", _sign(self.decimal))
        if self.missing is not None:
            object.__setattr__(self, "missing", tuple(map(str, self.missing)))
        if self.sep is not None and len(self.sep) != 1:
            raise ValueError(f"sep={self.sep!r}: one sign, or comma, semicolon, tab, pipe or blank")
        if self.decimal not in (None, ",", "."):
            raise ValueError(f"decimal={self.decimal!r}: allowed are comma and point")
        if self.columns is not None and len(set(self.columns)) < max(1, len(self.columns)):
            raise ValueError(f"columns={list(self.columns)}: the names must differ, one a column")
        if self.encoding is not None:
            try:
                codecs.lookup(self.encoding)
            except LookupError:
                raise ValueError(
                    f"encoding={self.encoding!r}: no encoding such as utf-8, cp1252 or utf-16"
                ) from None

    def seen(self, decimal: str | None, dayfirst: bool | None) -> Reading:
        """For another table of the same origin: what this one had, where it had it."""
        return replace(
            self,
            seen_decimal=decimal or self.seen_decimal,
            seen_dayfirst=self.seen_dayfirst if dayfirst is None else dayfirst,
        )


def _sign(word: str | None) -> str | None:
    return None if word is None else SIGNS.get(word, word)
