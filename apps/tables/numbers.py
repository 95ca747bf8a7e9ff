"""Columns of numbers, however people write them.

A column is read when all its cells say the same: one decimal sign, one kind of thousands, one
currency, one suffix. What two readings fit is refused with the option that decides.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from apps.errors import UserError
from apps.tables.table import Table

_CURRENCY = r"(?:US|R|A|C|HK|NZ|S)?\$|[€£¥₹₽₩₺₪₫฿₦₴₱]|zł|Kč|USD|EUR|GBP|CHF|JPY|CNY|INR|AUD|CAD|NZD"
_CURRENCY += "|SEK|NOK|DKK|PLN|CZK|HUF|BRL|MXN|ZAR|TRY|RUB|KRW|SGD|HKD|GBX|ILS|TWD|THB|SAR|AED"
_MINUS = r"[+\-\u2212\u2013]"
_CELL = (
    rf"^(?P<open>\()?(?P<sign>{_MINUS}?)\s*(?P<before>{_CURRENCY})?\s*(?P<inner>{_MINUS}?)"
    r"(?P<digits>(?:\d[\d.,'\u2019\s]*|[.,]\d+))(?P<power>[eE][+\-]?\d+)?\s*"
    rf"(?P<suffix>(?:[KkMmBb]|bn|mn)(?!\w)|%)?\s*(?P<after>{_CURRENCY})?"
    r"(?P<unit>°[^\W\d_]?|[^\W\d_]+(?:/[^\W\d_]+)?)?\)?(?P<behind>[\-\u2212\u2013])?$"
)
_FACTORS = {"k": 1e3, "m": 1e6, "mn": 1e6, "b": 1e9, "bn": 1e9, "%": 1.0, "": 1.0}
_LARGEST = float(np.finfo(np.float32).max)  # networks compute in single precision
_SENTINELS = (
    -999.0,
    -9999.0,
    -99999.0,
    9999.0,
    99999.0,
    999999.0,
    1e20,
    1e30,
    9.969209968386869e36,
)
_GROUP_BLANKS = re.compile(r"(?<=\d)['\u2019\s](?=\d{3}(?!\d))")

# What the digits of a cell say about its decimal sign: each pattern with its reading.
_PLAIN = r"\d+"
_DECIDED = {
    ".": r"\d*\.\d*|\d{1,3}(?:,\d{2,3})*,\d{3}(?:\.\d*)|\d{1,3}(?:,\d{2,3})+,\d{3}",
    ",": r"\d*,\d*|\d{1,3}(?:\.\d{3})*\.\d{3}(?:,\d*)|\d{1,3}(?:\.\d{3})+\.\d{3}",
}
_OPEN = {".": r"[1-9]\d{0,2},\d{3}", ",": r"[1-9]\d{0,2}\.\d{3}"}  # thousands of this reading


@dataclass(frozen=True, eq=False)
class Numbers:
    """A column as float64, NaN where empty, and notes on how it was read."""

    values: NDArray[np.float64]
    notes: tuple[str, ...] = ()
    decimal: str | None = None


def read_numbers(table: Table, name: str) -> Numbers:
    """A column as numbers, true and false being 1 and 0.

    Decimal commas, thousands, one currency, one unit, per cent and the suffixes K, M and B are
    read where the whole column has them. Raises UserError naming the row for a cell that is no
    finite number or stands for a missing one, and the option where several readings fit.
    """
    found = _read(table, name)
    _refuse_sentinels(table, name, found.values)
    return found


def _read(table: Table, name: str) -> Numbers:
    column = table.cells[name]
    if pd.api.types.is_numeric_dtype(column.dtype) or pd.api.types.is_bool_dtype(column.dtype):
        values = _finite(table, name, column.to_numpy(np.float64, na_value=np.nan, copy=True))
        values[np.isin(values, _as_floats(pd.Series(table.reading.missing or (), dtype=str)))] = (
            np.nan
        )
        return Numbers(values)
    text = table.text(name)
    known = text.dropna()
    plain = _as_floats(known)
    if plain.notna().all() and not _may_be_thousands(known):
        return Numbers(_finite(table, name, plain.reindex(text.index).to_numpy(np.float64)))
    parts = known.str.extract(_CELL)
    _refuse_words(table, name, text, parts)
    digits = parts["digits"].str.replace(_GROUP_BLANKS, "", regex=True).str.strip()
    decimal = _decimal(table, name, digits, text)
    values = _values(digits, decimal) * 10.0 ** _powers(parts["power"])
    bad = values.isna()
    if bad.any():
        _refuse(table, name, text, values.index[bad][0], f"with the decimal sign {decimal!r}")
    notes = _affixes(table, name, text, parts)
    factors = parts["suffix"].fillna("").str.lower().map(_FACTORS)
    signs = parts["sign"] + parts["inner"] + parts["behind"].fillna("")
    negative = parts["open"].notna() | signs.str.contains("[-\u2212\u2013]")
    values = values * factors * np.where(negative, -1.0, 1.0)
    if digits.str.contains(",").any() or decimal == ",":
        notes.insert(0, f"decimal {'comma' if decimal == ',' else 'point'}")
    found = _finite(table, name, values.reindex(text.index).to_numpy(np.float64))
    said = (f"{name!r} read with {', '.join(notes)}",) if notes else ()
    return Numbers(found, said, decimal)


def looks_numeric(table: Table, name: str) -> bool:
    """Whether most cells of a column are numbers: one stray word does not make it another."""
    column = table.cells[name]
    if pd.api.types.is_datetime64_any_dtype(column.dtype):
        return False
    if pd.api.types.is_numeric_dtype(column.dtype) or pd.api.types.is_bool_dtype(column.dtype):
        return bool(column.notna().any())
    known = table.text(name).dropna()
    parts = known.str.extract(_CELL)
    one_unit = parts["unit"].isna() | (parts["unit"].nunique() == 1)
    digits = parts["digits"].where(one_unit).str.replace(_GROUP_BLANKS, "", regex=True)
    forms = [_PLAIN, *_DECIDED.values(), *_OPEN.values()]
    sound = _as_floats(known).notna() | digits.str.strip().str.fullmatch("|".join(forms))
    return len(known) > 0 and bool(sound.mean() > 0.5)


def _as_floats(text: pd.Series) -> pd.Series:
    """Numbers as programs write them, true and false as 1 and 0, anything else as NaN."""
    flags = text.str.lower().map({"true": 1.0, "false": 0.0})
    return pd.to_numeric(text, errors="coerce").astype(float).fillna(flags)


def _finite(table: Table, name: str, values: NDArray[np.float64]) -> NDArray[np.float64]:
    endless = np.abs(values) > _LARGEST
    if endless.any():
        row = int(np.argmax(endless))
        cell = str(table.cells[name].iloc[row])
        raise UserError(f"{table.at(row, name)}: {cell!r} is not a finite number")
    return values


def _refuse_sentinels(table: Table, name: str, values: NDArray[np.float64]) -> None:
    """UserError for -999 and the like, far from all other values: a missing one, of a logger.

    One above the others must be there twice: once it may be a peak.
    """
    known = values[~np.isnan(values)]
    others = known[~np.isin(known, _SENTINELS)]
    if not len(others) or len(others) == len(known):
        return
    for sentinel in _SENTINELS:
        rows = np.flatnonzero(values == sentinel)
        far = others.min() - sentinel if sentinel < 0 else sentinel - others.max()
        if len(rows) > (sentinel > 0) and far > np.ptp(others):
            raise UserError(
                f"{table.at(int(rows[0]), name)}: {sentinel:g} ({len(rows)} times) is far "
                f"{'below' if sentinel < 0 else 'above'} all others"
                f"{_if_missing(table, str(table.cells[name].iloc[rows[0]]).strip())}"
            )


def _refuse(table: Table, name: str, text: pd.Series, label: object, why: str) -> None:
    row = int(text.index.get_loc(label))
    raise UserError(
        f"{table.at(row, name)}: {text.iloc[row]!r} is not a finite number {why}".rstrip()
    )


def _if_missing(table: Table, cell: str) -> str:
    """What to do about a cell that stands for a missing value, where there is an option."""
    if table.reading.missing is None:
        return ""
    return f" (if it stands for a missing one: data.missing=['{cell}'])"


def _refuse_words(table: Table, name: str, text: pd.Series, parts: pd.DataFrame) -> None:
    words = parts["digits"].isna() & ~_as_floats(text.dropna()).notna()
    if words.any():
        first = parts.index[words][0]
        _refuse(table, name, text, first, _if_missing(table, text[first]).strip())
    flags = parts["digits"].isna()
    if flags.any():
        _refuse(table, name, text, parts.index[flags][0], "as the others of its column are")


def _decided(digits: pd.Series) -> dict[str, pd.Series]:
    """Which cells can only be read with either decimal sign."""
    full = {sign: digits.str.fullmatch(pattern) for sign, pattern in _DECIDED.items()}
    open_ = {sign: digits.str.fullmatch(pattern) for sign, pattern in _OPEN.items()}
    return {
        ".": full["."] & ~open_[","],
        ",": full[","] & ~open_["."],
    }


def _decimal(table: Table, name: str, digits: pd.Series, text: pd.Series) -> str:
    """The decimal sign of a column: given, decided by its cells, or by the file's others."""
    if table.reading.decimal is not None:
        return table.reading.decimal
    decided = _decided(digits)
    signs = [sign for sign, cells in decided.items() if cells.any()]
    if len(signs) == 2:
        rarer = min(signs, key=lambda sign: int(decided[sign].sum()))
        first = decided[rarer].idxmax()
        _refuse(
            table,
            name,
            text,
            first,
            "as the others of its column are: they have another decimal sign; mend the cell",
        )
    if signs:
        return signs[0]
    marked = digits[digits.str.contains("[.,]")]
    if marked.empty:
        return "."
    sign = _elsewhere(table, name)
    if sign is None and "," not in marked.iloc[0] and len(marked) == len(digits):
        sign = None if table.found.startswith("semicolon") else "."
    if sign is not None and not _has_long_plain(digits):
        return sign
    example, first = marked.iloc[0], marked.index[0]
    here, there = ("comma", "point") if "," in example else ("point", "comma")
    raise UserError(
        f"{table.at(int(text.index.get_loc(first)), name)}: {text[first]!r} may be "
        f"{example.replace(',', '.')} or {example.replace(',', '').replace('.', '')}; set "
        f"data.decimal={here} or data.decimal={there}"
    )


def _has_long_plain(digits: pd.Series) -> bool:
    """Whether numbers over 999 stand without thousands beside others that may have some."""
    return bool(digits.str.fullmatch(r"\d{4,}").any())


def _elsewhere(table: Table, name: str) -> str | None:
    """The decimal sign of the file's other columns where they have one, or of an earlier file."""
    found = set()
    for other in table.names:
        if other != name and not pd.api.types.is_numeric_dtype(table.cells[other].dtype):
            parts = table.text(other).dropna().str.extract(_CELL)
            if len(parts) and parts["digits"].notna().all():
                cells = _decided(parts["digits"].str.strip())
                found |= {sign for sign, flags in cells.items() if flags.any()}
    return found.pop() if len(found) == 1 else table.reading.seen_decimal


def _may_be_thousands(text: pd.Series) -> bool:
    """Whether every point of a column may set off thousands, with three digits after each."""
    digits = text.str.lstrip("+-")
    marked = digits[digits.str.contains(".", regex=False)]
    return len(marked) > 0 and bool(marked.str.fullmatch(_OPEN[","]).all())


def _values(digits: pd.Series, decimal: str) -> pd.Series:
    thousands = "," if decimal == "." else "."
    sound = digits.str.fullmatch(f"{_PLAIN}|{_DECIDED[decimal]}|{_OPEN[decimal]}")
    plain = digits.str.replace(thousands, "", regex=False).str.replace(decimal, ".", regex=False)
    return pd.to_numeric(plain.where(sound), errors="coerce").astype(float)


def _powers(powers: pd.Series) -> pd.Series:
    return pd.to_numeric(powers.str.slice(1), errors="coerce").fillna(0.0)


def _affixes(table: Table, name: str, text: pd.Series, parts: pd.DataFrame) -> list[str]:
    """What all cells have around their digits; UserError where only some have it."""
    currency = parts["before"].fillna(parts["after"])
    suffix = (
        parts["suffix"].str.lower().replace({"k": "K", "m": "M", "mn": "M", "b": "B", "bn": "B"})
    )
    percent = suffix.where(suffix == "%")
    scaled = suffix.mask(suffix == "%")
    notes = []
    every = {
        "the currency": currency,
        "the sign": percent,
        "the suffix": scaled,
        "the unit": parts["unit"],
    }
    for what, found in every.items():
        there = found.dropna()
        if there.empty:
            continue
        nothing = parts["digits"].str.fullmatch(r"0+([.,]0+)?")
        without = found.isna() & ~nothing
        if without.any():
            _refuse(
                table,
                name,
                text,
                found.index[without][0],
                f"like the others of its column: it lacks {what} {there.iloc[0]!r}",
            )
        if what != "the suffix" and there.nunique() > 1:
            other = there.index[there != there.iloc[0]][0]
            _refuse(table, name, text, other, f"in {there.iloc[0]}, as the first of its column is")
        notes.append(f"{what} {'/'.join(sorted(there.unique()))}")
    return notes
