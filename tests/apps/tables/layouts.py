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


def _archive(**files: str | bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return stream.getvalue()


def _zip(table: Text) -> bytes:
    return _archive(
        **{"inner/load.csv": joined(table), "__MACOSX/._load.csv": "junk", "licence.pdf": "mine"}
    )


def _records(table: Text) -> list[dict[str, str]]:
    return [dict(zip(table[0], row, strict=True)) for row in table[1:]]


def _ods(table: Text) -> bytes:
    """An OpenDocument spreadsheet: its one file that matters, of text cells."""
    cells = "".join(
        "<table:table-row>"
        + "".join(
            f'<table:table-cell office:value-type="string"><text:p>{cell}</text:p>'
            "</table:table-cell>"
            for cell in row
        )
        + "</table:table-row>"
        for row in table
    )
    names = "".join(
        f' xmlns:{name}="urn:oasis:names:tc:opendocument:xmlns:{name}:1.0"'
        for name in ("office", "table", "text")
    )
    body = f'<table:table table:name="Load">{cells}</table:table>'
    content = (
        f"<office:document-content{names}><office:body><office:spreadsheet>{body}"
        "</office:spreadsheet></office:body></office:document-content>"
    )
    kind = "application/vnd.oasis.opendocument.spreadsheet"
    manifest = "urn:oasis:names:tc:opendocument:xmlns:manifest:1.0"
    files = {
        "mimetype": kind,
        "content.xml": content,
        "META-INF/manifest.xml": f'<manifest:manifest xmlns:manifest="{manifest}"/>',
    }
    return _archive(**files)


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
    "twice packed": (
        "load.csv.gz",
        lambda t: gzip.compress(_zip(t)),
        "CSV, zip, gzip",
    ),
    "utf16 without mark": ("load.csv", _plain(",", "utf-16-le"), "CSV, encoding utf-16-le"),
    "page of a book": (
        "load.ods",
        _ods,
        "Excel, sheet 'Load'",
    ),
    "nested twice": (
        "load.json",
        lambda t: json.dumps({"answer": {"n": 1, "data": _records(t)}}).encode(),
        "JSON",
    ),
    "data alone": ("load.json", lambda t: json.dumps({"data": _records(t)}).encode(), "JSON"),
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
    "microseconds": lambda: rows(lambda t: str(int(t.timestamp() * 10**6))),
    "24:00": lambda: rows(
        lambda t: f"{t - pd.Timedelta('1D'):%Y-%m-%d}T24:00:00" if t.hour == 0 else t.isoformat()
    ),
    "compact Z": lambda: rows(lambda t: f"{t:%Y%m%dT%H%M%SZ}"),
    "a.m.": lambda: rows(lambda t: f"{t:%m/%d/%Y %I:%M} {'ap'[t.hour // 12]}.m."),
    "hour alone": lambda: rows(lambda t: f"{t:%m/%d/%Y %I %p}"),
    "comma before milliseconds": lambda: rows(lambda t: f"{t:%Y-%m-%d %H:%M:%S},000"),
    "short month": lambda: rows(lambda t: f"{t.day}-{t:%b-%y %H:%M}"),
    "short year first": lambda: rows(lambda t: f"{t:%y-%m-%d %H:%M}"),
    "tight interval": lambda: rows(lambda t: f"{t:%d.%m.%Y %H:%M}-{t + pd.Timedelta('1h'):%H:%M}"),
    "weekday named": lambda: rows(lambda t: f"{t:%a, %d %b %Y %H:%M:%S} GMT"),
    "year, month, day and hour": lambda: rows(
        lambda t: f"{t.year}|{t.month}|{t.day}|{t.hour}",
        header=("year", "month", "day", "hour", "load", "temperature"),
    ),
    "interval of hours": lambda: rows(
        lambda t: f"{t:%d.%m.%Y}|{t:%H:%M}-{t + pd.Timedelta('1h'):%H:%M}",
        header=("Datum", "Uhrzeit", "load", "temperature"),
    ),
    "begin and end": lambda: rows(
        lambda t: f"{t:%d.%m.%Y}|{t:%H:%M}|{t + pd.Timedelta('1h'):%H:%M}",
        header=("Datum", "Anfang", "Ende", "load", "temperature"),
    ),
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
    "minus behind": lambda: rows(number=lambda x: f"{-x:.2f}-" if x < 0 else f"{x:.2f}"),
    "minus sign": lambda: rows(number=lambda x: f"{x:.2f}".replace("-", "\u2212")),
    "dollars in brackets": lambda: rows(
        number=lambda x: f"(${-x:,.2f})" if x < 0 else f"${x:,.2f}"
    ),
    "nbsp thousands": lambda: rows(number=lambda x: f"{x:,.2f}".replace(",", "\u00a0")),
    "swiss": lambda: rows(number=lambda x: f"CHF {x:,.2f}".replace(",", "\u2019")),
    "kroner": lambda: rows(number=lambda x: f"{_german(x)} kr"),
    "unit": lambda: rows(number=lambda x: f"{x:.2f} kWh"),
    "powers of ten": lambda: rows(number=lambda x: f"{x:.6e}"),
    "comments": lambda: [["# made, by me"], ["# on, Monday, at noon"], *rows()],
    "header in a comment": lambda: [["# made by me"], ["# timestamp", *rows()[0][1:]], *rows()[1:]],
    "row of units": lambda: [rows()[0], ["UTC", "MW", "degrees"], *rows()[1:]],
    "header once more": lambda: [*rows()[:150], rows()[0], *rows()[150:]],
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
