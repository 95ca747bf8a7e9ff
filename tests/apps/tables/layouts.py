"""The same two weeks of an hourly load, written as people's files are."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

HOURS = 24 * 14  # so many days that the first of a date tells what is the month
TIMES = pd.date_range("2024-01-01", periods=HOURS, freq="h")
LOAD = np.round(1234.5 + np.arange(HOURS) * 7.25, 2)
TEMPERATURE = np.round(np.sin(np.arange(HOURS) / 9.0) * 9.0, 1)

Text = list[list[str]]


def rows(
    time: Callable[[pd.Timestamp], str] = lambda t: f"{t:%Y-%m-%d %H:%M}",
    number: Callable[[float], str] = lambda x: f"{x:.2f}",
    header: tuple[str, ...] = ("timestamp", "load", "temperature"),
) -> Text:
    """Header and rows of text cells: time, load and temperature."""
    body = [
        [*(cell for cell in time(t).split("|")), number(a), number(b)]
        for t, a, b in zip(TIMES, LOAD, TEMPERATURE, strict=True)
    ]
    return [list(header), *body] if header else body


def joined(table: Text, sep: str = ",", end: str = "\n") -> str:
    """Cells with a separator, quoted where they contain it."""
    quoted = [[f'"{cell}"' if sep in cell else cell for cell in row] for row in table]
    return "".join(sep.join(row) + end for row in quoted)


def _plain(sep: str, encoding: str = "utf-8", end: str = "\n") -> Callable[[Text], bytes]:
    return lambda table: joined(table, sep, end).encode(encoding)


def _zip(table: Text) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("inner/load.csv", joined(table))
        archive.writestr("__MACOSX/._load.csv", "junk")
    return stream.getvalue()


def _records(table: Text) -> list[dict[str, str]]:
    return [dict(zip(table[0], row, strict=True)) for row in table[1:]]


def _lines(table: Text) -> bytes:
    return "".join(json.dumps(record) + "\n" for record in _records(table)).encode()


def _columns(table: Text) -> bytes:
    return pd.DataFrame(table[1:], columns=table[0]).to_json(orient="columns").encode()


def _excel(table: Text) -> bytes:
    stream = io.BytesIO()
    pd.DataFrame(table[1:], columns=table[0]).to_excel(stream, index=False)
    return stream.getvalue()


def _parquet(table: Text) -> bytes:
    stream = io.BytesIO()
    pd.DataFrame(table[1:], columns=table[0]).to_parquet(stream)
    return stream.getvalue()


# Name of the file and what writes its bytes; what the account must say of it.
FORMATS: dict[str, tuple[str, Callable[[Text], bytes], str]] = {
    "csv": ("load.csv", _plain(","), "CSV"),
    "tsv": ("load.tsv", _plain("\t"), "tab-separated"),
    "semicolons": ("load.csv", _plain(";"), "semicolon-separated"),
    "pipes": ("load.txt", _plain("|"), "pipe-separated"),
    "windows": ("load.csv", _plain(";", "utf-8-sig", "\r\n"), "semicolon-separated"),
    "utf16": ("load.csv", _plain("\t", "utf-16", "\r\n"), "tab-separated, encoding utf-16"),
    "gzip": ("load.csv.gz", lambda t: gzip.compress(_plain(",")(t)), "CSV, gzip"),
    "xz": ("load.csv.xz", lambda t: lzma.compress(_plain(",")(t)), "CSV, xz"),
    "bzip2": ("load.csv.bz2", lambda t: bz2.compress(_plain(",")(t)), "CSV, bzip2"),
    "zip": ("load.zip", _zip, "CSV, zip"),
    "misnamed": ("load.csv", lambda t: gzip.compress(_plain(",")(t)), "CSV, gzip"),
    "json": ("load.json", lambda t: json.dumps(_records(t)).encode(), "JSON"),
    "lines": ("load.jsonl", _lines, "JSON lines"),
    "columns": ("load.json", _columns, "JSON"),
    "nested": ("load.json", lambda t: json.dumps({"n": 1, "data": _records(t)}).encode(), "JSON"),
    "excel": ("load.xlsx", _excel, "Excel, sheet 'Sheet1'"),
    "parquet": ("load.parquet", _parquet, "Parquet"),
}


def _german(x: float) -> str:
    return f"{x:,.2f}".replace(",", "_").replace(".", ",").replace("_", ".")


QUIRKS: dict[str, Callable[[], Text]] = {
    "iso": rows,
    "iso T": lambda: rows(lambda t: t.isoformat()),
    "day first": lambda: rows(lambda t: f"{t:%d/%m/%Y %H:%M}"),
    "month first": lambda: rows(lambda t: f"{t.month}/{t.day}/{t:%Y} {t.hour}:{t:%M}"),
    "points": lambda: rows(lambda t: f"{t:%d.%m.%Y %H:%M}"),
    "short year": lambda: rows(lambda t: f"{t:%m/%d/%y %I:%M %p}"),
    "month named": lambda: rows(lambda t: f"{t:%d-%b-%Y %H:%M:%S}"),
    "no midnight": lambda: rows(lambda t: f"{t:%d/%m/%Y %H:%M}".removesuffix(" 00:00")),
    "interval": lambda: rows(
        lambda t: f"{t:%d.%m.%Y %H:%M} - {t + pd.Timedelta('1h'):%d.%m.%Y %H:%M}"
    ),
    "compact": lambda: rows(lambda t: f"{t:%Y%m%d%H%M}"),
    "seconds": lambda: rows(lambda t: str(int(t.timestamp()))),
    "milliseconds": lambda: rows(lambda t: str(int(t.timestamp() * 1000))),
    "date and hour": lambda: rows(
        lambda t: f"{t:%Y-%m-%d}|{t.hour}", header=("date", "hour", "load", "temperature")
    ),
    "hour ending": lambda: rows(
        lambda t: f"{t:%m/%d/%Y}|{t.hour + 1}", header=("Date", "HE", "load", "temperature")
    ),
    "date and time": lambda: rows(
        lambda t: f"{t.day}/{t.month}/{t:%Y}|{t:%H:%M:%S}",
        header=("Date", "Time", "load", "temperature"),
    ),
    "decimal commas": lambda: rows(number=lambda x: f"{x:.2f}".replace(".", ",")),
    "thousands": lambda: rows(number=lambda x: f"{x:,.2f}"),
    "german": lambda: rows(lambda t: f"{t:%d.%m.%Y %H:%M}", _german),
    "blank thousands": lambda: rows(number=lambda x: f"{x:,.2f}".replace(",", "\u202f")),
    "apostrophes": lambda: rows(number=lambda x: f"{x:,.2f}".replace(",", "'")),
    "dollars": lambda: rows(number=lambda x: f"{'-' if x < 0 else ''}${abs(x):,.2f}"),
    "euros after": lambda: rows(number=lambda x: f"{_german(x)} €"),
    "kilo": lambda: rows(number=lambda x: f"{x / 1000:.5f}K"),
    "per cent": lambda: rows(number=lambda x: f"{x:.2f}%"),
    "brackets": lambda: rows(number=lambda x: f"({-x:.2f})" if x < 0 else f"{x:.2f}"),
    "newest first": lambda: [rows()[0], *rows()[:0:-1]],
    "index column": lambda: [[str(i - 1) if i else "", *row] for i, row in enumerate(rows())],
    "title above": lambda: [["Load of the town"], *rows()],
    "blank lines": lambda: [*rows()[:100], [""] * 3, *rows()[100:], [""] * 3],
    "words missing": lambda: (
        rows()[:200]
        + [[*row[:2], cell] for row, cell in zip(rows()[200:203], ("?", "NA", "-"), strict=True)]
        + rows()[203:]
    ),
}


def write(folder: Path, form: str, table: Text) -> Path:
    """Write a table in one of the formats."""
    name, encode, _ = FORMATS[form]
    path = folder / name
    path.write_bytes(encode(table))
    return path
