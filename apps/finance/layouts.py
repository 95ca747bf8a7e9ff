"""Files of prices as their sources write them, told by their headers.

Yahoo Finance (`yfinance.download` of one or several tickers), Binance klines (without a header);
R's quantmod (`AAPL.Close`); the others have one header, whose names `COLUMNS` lists: Yahoo,
`Ticker.history()`, stooq in English and Polish, Alpha Vantage, nasdaq.com, investing.com in some
languages, FRED.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from apps.tables.header import Rows

_KLINES = [
    "open_time",
    "open",
    "high",
    "low",
    "close",
    "volume",
    "close_time",
    "quote_volume",
    "count",
    "taker_buy_volume",
    "taker_buy_quote_volume",
    "ignore",
]
_FIELDS = frozenset(
    [
        "adj close",
        "close",
        "high",
        "low",
        "open",
        "volume",
        "dividends",
        "stock splits",
        "capital gains",
    ]
)

# What a column is called elsewhere, in the form of `plain`.
COLUMNS: Mapping[str, Sequence[str]] = {
    "date": [
        "date",
        "timestamp",
        "datetime",
        "time",
        "day",
        "open_time",
        "observation_date",
        "data",
        "datum",
        "fecha",
    ],
    "close": [
        "close",
        "close_last",
        "price",
        "last",
        "zamkniecie",
        "zuletzt",
        "schluss",
        "schlusskurs",
        "kurs",
        "dernier",
        "cloture",
        "cierre",
        "ultimo",
        "settle",
        "settlement",
        "closing_price",
        "close_price",
        "last_price",
        "px_last",
        "nav",
        "prc",
        "c",
    ],
    "adj_close": [
        "adj_close",
        "adjusted_close",
        "adjclose",
        "close_adjusted",
        "adj_close_",
        "adjusted",
        "close_adj",
    ],
    "open": ["open", "open_price", "opening_price", "otwarcie", "apertura", "abertura", "o"],
    "high": [
        "high",
        "high_price",
        "najwyzszy",
        "hoch",
        "plus_haut",
        "maximo",
        "maxima",
        "massimo",
        "h",
    ],
    "low": ["low", "low_price", "najnizszy", "tief", "plus_bas", "minimo", "minima", "l"],
    "volume": ["volume", "vol", "wolumen", "volumen", "v"],
}


def plain(name: str) -> str:
    """A column's name without case, accents, numbering (`1. open`), brackets and blanks."""
    bare = re.sub(r"^\d+\.\s*", "", name.strip().lower().strip("<>"))
    letters = "".join(
        c for c in unicodedata.normalize("NFKD", bare) if not unicodedata.combining(c)
    )
    return re.sub(r"\W+", "_", letters).strip("_")


def known_column(names: Sequence[str], what: str) -> str | None:
    """The column that is `what` by its name, the usual names first; None if there is none."""
    by_name = {plain(name): name for name in reversed(names)}
    found = (by_name[other] for other in COLUMNS[what] if other in by_name)
    return next(found, None)


def layout(rows: Rows) -> tuple[Rows, str] | None:
    """Rows with one header of a file that has another number of them; None for one that has not."""
    first = [str(cell).strip() for cell in rows[0]]
    if first and first[0] in ("Price", "Ticker", "") and len(rows) > 2:
        known = _yfinance(rows)
        if known is not None:
            return known
    if (bare := _without_ticker(first)) is not None:
        return [bare, *rows[1:]], "quantmod"
    if len(first) == len(_KLINES) and all(re.fullmatch(r"[\d.]+", cell) for cell in first):
        return [_KLINES, *rows], "Binance klines"
    return None


def _without_ticker(header: Sequence[str]) -> list[str] | None:
    """A header in which R's quantmod puts one ticker before each field (`AAPL.Close`), without."""
    parts = [name.rpartition(".") for name in header[1:]]
    tickers = {ticker for ticker, _, field in parts if plain(field) in (*_FIELDS, "adjusted")}
    if len(tickers) != 1 or not all(ticker in tickers for ticker, *_ in parts) or "" in tickers:
        return None
    return [header[0], *(field for *_, field in parts)]


def _yfinance(rows: Rows) -> tuple[Rows, str] | None:
    """One row a day and ticker, from the columns of every pair of field and ticker."""
    heads = _heads(rows)
    if heads is None:
        return None
    fields, tickers = _unmerged(heads[0]), None if heads[1] is None else _unmerged(heads[1])
    above = 1 if tickers is None else 2
    if len(rows) > above and _names_the_index(rows[above]):
        above += 1
    if tickers is None:
        return [["Date", *fields[1:]], *rows[above:]], "yfinance"
    names = list(dict.fromkeys(str(cell) for cell in tickers[1:]))
    header = list(dict.fromkeys(str(cell) for cell in fields[1:]))
    pairs = {(str(t), str(f)): i for i, (t, f) in enumerate(zip(tickers, fields, strict=True))}
    body: list[list[Any]] = [["Date", "Ticker", *header]]
    for name in names:
        places = [pairs.get((name, field)) for field in header]
        body += [
            [row[0], name, *(_cell(row, place) for place in places)]
            for row in rows[above:]
            if len(row)
        ]
    return body, f"yfinance, {len(names)} ticker{'s' * (len(names) > 1)}"


def _heads(rows: Rows) -> tuple[Sequence[Any], Sequence[Any] | None] | None:
    """The row of fields and that of tickers, which older versions of yfinance do not name."""
    named = {str(row[0]).strip(): row for row in rows[:2] if len(row)}
    if "Price" in named:
        return named["Price"], named.get("Ticker")
    unnamed = [row for row in rows[:2] if len(row) > 1 and row[0] in ("", None)]
    fields = [row for row in unnamed if {str(cell).lower() for cell in row[1:]} <= _FIELDS]
    if len(unnamed) < 2 or len(fields) != 1:
        return None
    return fields[0], next(row for row in unnamed if row is not fields[0])


def _unmerged(row: Sequence[Any]) -> list[Any]:
    """A row of a spreadsheet in which a name stands once for all the columns that it spans."""
    whole = list(row)
    for i in range(2, len(whole)):
        whole[i] = whole[i - 1] if whole[i] in ("", None) else whole[i]
    return whole


def _names_the_index(row: Sequence[Any]) -> bool:
    """Whether a row is `Date,,,`: the name of the index under a header of several rows."""
    first, *rest = [str(cell or "").strip() for cell in row] or [""]
    return not any(rest) and (first == "" or plain(first) in COLUMNS["date"])


def _cell(row: Sequence[Any], place: int | None) -> Any:
    return row[place] if place is not None and place < len(row) else None
