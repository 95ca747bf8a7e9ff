"""Reading a file, or a folder of files, as one table."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from apps.errors import UserError
from apps.tables.content import PACKINGS, SUFFIXES, Content, decode, read_content
from apps.tables.documents import looks_like_json, read_json
from apps.tables.header import Rows, to_frame
from apps.tables.reading import Reading
from apps.tables.separated import read_rows, separator_name
from apps.tables.table import Table

_OLD_EXCEL, _ZIP = b"\xd0\xcf\x11\xe0", b"PK\x03\x04"
_MARKUP = re.compile(r"\s*(<(!doctype|html|head|body|table|\?xml)\b|%PDF-)", re.IGNORECASE)


def _read_stream(stream: io.BytesIO) -> pd.DataFrame:
    """A stream of Arrow, as Hugging Face keeps its data sets."""
    from pyarrow import ipc  # slow, and rarely needed

    frame: pd.DataFrame = ipc.open_stream(stream).read_pandas()
    return frame


_TYPED: dict[bytes, tuple[str, Callable[[io.BytesIO], pd.DataFrame]]] = {
    b"PAR1": ("Parquet", pd.read_parquet),
    b"ARROW1": ("Arrow", pd.read_feather),
    b"\xff\xff\xff\xff": ("Arrow", _read_stream),
}

# A layout turns the rows of a file that it knows into rows with one header, and names itself.
Layout = Callable[[Rows], tuple[Rows, str] | None]


def read_table(path: Path, reading: Reading | None = None, layout: Layout | None = None) -> Table:
    """The table in a file or in the files of a folder, which follow each other by name.

    Text with any separator and encoding, JSON and JSON lines, Parquet, Arrow and Excel, plain or
    in gzip, zip, xz or bzip2; the content decides, not the name. layout: rewrites rows of a form
    that an application knows.

    Raises UserError, one line with the row and a cure, for what cannot be read.
    """
    reading = reading or Reading()
    if not path.is_dir():
        return _read_file(path, reading, layout)
    files = [file for file in sorted(path.iterdir()) if file.is_file() and _is_table(file)]
    if not files:
        raise UserError(f"{path}: Is a directory without tables ({', '.join(sorted(SUFFIXES))})")
    tables = [_read_file(file, reading, layout) for file in files]
    return tables[0] if len(tables) == 1 else _joined(path, files, tables)


def _is_table(file: Path) -> bool:
    suffix = Path(file.stem).suffix if file.suffix.lower() in PACKINGS else file.suffix
    known = suffix.lower() in SUFFIXES or (suffix == "" and file.suffix.lower() in PACKINGS)
    return known and not file.name.startswith(".")


def _joined(path: Path, files: list[Path], tables: list[Table]) -> Table:
    first = tables[0]
    for file, table in zip(files[1:], tables[1:], strict=True):
        differing = set(first.names) ^ set(table.names)
        if differing:
            raise UserError(
                f"{path}: column {min(differing)!r} is in {files[0].name} or {file.name} alone; "
                "the files of a folder must have the same columns"
            )
    found = list(dict.fromkeys(table.found for table in tables))
    return replace(
        first,
        path=path,
        cells=pd.concat([table.cells[first.names] for table in tables], ignore_index=True),
        rows=np.concatenate([table.rows for table in tables]),
        found=f"{len(files)} files of {' and '.join(found)}",
        notes=tuple(dict.fromkeys(note for table in tables for note in table.notes)),
        files=tuple(file.name for file in files),
        file=np.repeat(np.arange(len(files)), [len(table) for table in tables]),
    )


def _read_file(path: Path, reading: Reading, layout: Layout | None) -> Table:
    content = read_content(path)
    cells, found = _cells(content, path, reading)
    notes: list[str] = []
    if not isinstance(cells, pd.DataFrame):
        columns = reading.columns
        known = layout(cells) if layout is not None and columns is None and cells else None
        if known is not None:
            cells, name = known
            found = f"{found}, layout of {name}"
        cells, notes = to_frame(cells, path, columns)
    elif cells.empty:
        raise UserError(f"{path}: a header but no rows")
    if content.packing:
        found = f"{found}, {content.packing}"
    rows = np.arange(1, len(cells) + 1)
    return Table(path, cells, rows, found, tuple(notes), reading)


def _cells(content: Content, path: Path, reading: Reading) -> tuple[pd.DataFrame | Rows, str]:
    """What a file holds: typed columns, or rows of cells; and its format in words."""
    data = content.data
    for magic, (kind, read) in _TYPED.items():
        if data.startswith(magic):
            return _typed(data, path, kind, read), kind
    if data.startswith((_OLD_EXCEL, _ZIP)):
        return _excel(data, path, reading.sheet)
    text, encoding = decode(data, path, reading.encoding)
    if _MARKUP.match(text):
        raise UserError(
            f"{path}: a web page or another document, and no table; download the data themselves, "
            "or save the table in it as CSV"
        )
    if looks_like_json(text, path):
        cells, found = read_json(text, path)
    else:
        cells, delimiter = read_rows(text, path, reading.sep)
        found = separator_name(delimiter)
    if encoding not in ("utf-8", "utf-8-sig"):
        found = f"{found}, encoding {encoding}"
    return cells, found


def _typed(
    data: bytes, path: Path, kind: str, read: Callable[[io.BytesIO], pd.DataFrame]
) -> pd.DataFrame:
    try:
        frame = read(io.BytesIO(data))
    except Exception as error:  # damaged bytes fail anywhere in pyarrow
        raise UserError(f"{path}: damaged {kind} file ({str(error).splitlines()[0]})") from None
    for level in reversed(range(frame.columns.nlevels)):
        if frame.columns.nlevels > 1 and frame.columns.get_level_values(level).nunique() == 1:
            frame.columns = frame.columns.droplevel(level)
    frame.columns = [
        "_".join(map(str, name)) if isinstance(name, tuple) else str(name) for name in frame.columns
    ]
    if isinstance(frame.index, pd.MultiIndex):
        return frame.reset_index()
    if not isinstance(frame.index, pd.RangeIndex):
        frame = frame.reset_index(names=frame.index.name or "timestamp")
    return frame


def _excel(data: bytes, path: Path, sheet: str | None) -> tuple[Rows, str]:
    try:
        import python_calamine  # noqa: F401
    except ImportError:
        raise UserError(
            f"{path}: Excel files need a package more: pip install python-calamine; or save the "
            "sheet as CSV"
        ) from None
    try:
        with pd.ExcelFile(io.BytesIO(data), engine="calamine") as book:
            names = [str(name) for name in book.sheet_names]
            if sheet is not None and sheet not in names:
                raise UserError(f"{path}: no sheet {sheet!r}; there are {', '.join(names)}")
            for name in [sheet] if sheet else names:  # the first that is not empty
                frame = pd.read_excel(book, sheet_name=name, header=None, dtype=object)
                if not frame.empty:
                    break
    except UserError:
        raise
    except Exception as error:  # damaged bytes fail anywhere in calamine
        raise UserError(f"{path}: damaged Excel file ({str(error).splitlines()[0]})") from None
    others = f" of {len(names)} (data.sheet)" if len(names) > 1 and sheet is None else ""
    rows: list[list[Any]] = frame.astype(object).where(frame.notna(), None).to_numpy().tolist()
    return rows, f"Excel, sheet {name!r}{others}"
