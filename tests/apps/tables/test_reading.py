"""Corners of reading tables: quotes, headers, JSON, archives, and what cannot be read."""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from pathlib import Path

import pandas as pd
import pytest

from apps.errors import UserError
from apps.tables.read import read_table
from apps.tables.reading import Reading

LINES = [f'{i},"line\nother, {i}",{i}.5' for i in range(100)]
SPLIT = {"columns": ["n", "x"], "index": [0, 1], "data": [[1, 2], [3, None]]}


def cells(folder: Path, name: str, content: str | bytes, **options: object) -> list[list[object]]:
    """All rows of a file, the names first; None for an empty cell."""
    data = content.encode() if isinstance(content, str) else content
    (folder / name).write_bytes(data)
    table = read_table(folder / name, Reading(**options))
    frame = table.cells.astype(object)
    return [table.names, *frame.where(frame.notna(), None).to_numpy().tolist()]


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.csv", "n,x\n1,2\n", [["n", "x"], ["1", "2"]]),
        ("a.csv", "n, x \n1, 2\n", [["n", "x"], ["1", " 2"]]),
        ("a.csv", "n;x;\n1;2;\n", [["n", "x"], ["1", "2"]]),
        ("a.csv", "n;x\n1;2;;\n", [["n", "x"], ["1", "2"]]),
        ("a.csv", "n,x\n1\n2,3\n", [["n", "x"], ["1", None], ["2", "3"]]),
        ("a.csv", "n,x\n1,2\n\n3,4\n\n\n", [["n", "x"], ["1", "2"], [None, None], ["3", "4"]]),
        ("a.csv", "# made by me\nn,x\n1,2\n3,4\n", [["n", "x"], ["1", "2"], ["3", "4"]]),
        ("a.csv", ",Unnamed: 0,x\n0,1,2\n", [["Unnamed: 1", "Unnamed: 0", "x"], ["0", "1", "2"]]),
        ("a.csv", "n,x\r1,2\r", [["n", "x"], ["1", "2"]]),
        ("a.csv", "'n','x'\n'1','2'\n'3','4'\n", [["n", "x"], ["1", "2"], ["3", "4"]]),
        ("a.tsv", 'n\tx\n1\tsaid "no" to\n', [["n", "x"], ["1", 'said "no" to']]),
        ("a.tsv", 'n\tx\n1\t"no" he said\n', [["n", "x"], ["1", '"no" he said']]),
        ("a.json", '[{"n": 1, "x": null}, {"x": "2"}]', [["n", "x"], [1, None], [None, "2"]]),
        ("a.json", '{"n": [1, 2], "x": [3, 4]}', [["n", "x"], [1, 3], [2, 4]]),
        ("a.json", '{"n": {"0": 1}, "x": {"0": 3}}', [["n", "x"], [1, 3]]),
        ("a.json", json.dumps(SPLIT), [["n", "x"], [1, 2], [3, None]]),
        ("a.json", '{"page": 1, "data": [{"n": 1}]}', [["n"], [1]]),
        ("a.jsonl", '{"n": 0, "x": {"y": 1}}\n', [["n", "x"], [0, {"y": 1}]]),
        ("a.jsonl", '{"n": 0}\n\n{"n": 0.0}\n{"n": "0"}\n', [["n"], [0], [0.0], ["0"]]),
    ],
)  # fmt: skip
def test_cells_are_as_they_are(tmp_path, name, content, expected):
    assert cells(tmp_path, name, content) == expected


def test_cells_over_several_lines(tmp_path):
    found = cells(tmp_path, "a.csv", "n,note,x\n" + "\n".join(LINES))
    assert len(found) == 101
    assert found[1:3] == [["0", "line\nother, 0", "0.5"], ["1", "line\nother, 1", "1.5"]]


def test_a_book_is_a_cell(tmp_path):
    assert len(str(cells(tmp_path, "a.csv", "n,x\n1," + "word " * 50_000)[1][1])) == 250_000


def test_sheets(tmp_path):
    stream = io.BytesIO()
    with pd.ExcelWriter(stream) as book:
        pd.DataFrame({"n": [1]}).to_excel(book, sheet_name="first", index=False)
        pd.DataFrame({"n": [2]}).to_excel(book, sheet_name="other", index=False)
    assert cells(tmp_path, "a.xlsx", stream.getvalue())[1] == [1]
    assert read_table(tmp_path / "a.xlsx").found == "Excel, sheet 'first' of 2 (data.sheet)"
    assert cells(tmp_path, "a.xlsx", stream.getvalue(), sheet="other")[1] == [2]
    with pytest.raises(UserError, match="no sheet 'third'; there are first, other"):
        cells(tmp_path, "a.xlsx", stream.getvalue(), sheet="third")


def archive(*names: str) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as zipped:
        for name in names:
            zipped.writestr(name, "n\n1\n")
    return stream.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "options", "expected"),
    [
        ("a.csv", "", {}, "the file is empty"),
        ("a.csv", "\n\n", {}, "the file is empty"),
        ("a.csv", "n,x\n", {}, "a header but no rows"),
        ("a.csv", "n,n\n1,2\n", {}, "column 'n' is there twice"),
        ("a.csv", "n,x\n1,2\n1,2,3\n", {}, "data row 2 has 3 cells, the header has 2"),
        ("a.csv", "1,2\n3,4\n", {}, "the first row holds values ('1') and no names"),
        ("a.csv", "1,2\n3,4\n", {"columns": ["n"]}, "names 1 columns, the first row has 2"),
        ("a.csv", "n,x\n" + '1,"a, b"\n' * 9 + '2,"b\n', {}, "line 11: unexpected end of data"),
        ("a.csv", bytes(range(256)) * 9, {}, "neither a table in a known format nor text"),
        ("a.csv", b"n\n\xff\n", {"encoding": "utf-8"}, "line 2: not utf-8 text"),
        ("a.csv", b"n\n" + b"\xd0\xb7" * 9 + b"\n\xff\n", {}, "line 3: not utf-8 text"),
        ("a.json", "{", {}, "not JSON"),
        ("a.json", '{"n": 1}', {}, ""),
        ("a.jsonl", '{"n": 1}\n[2]\n', {}, "line 2: not a JSON object"),
        ("a.csv.gz", gzip.compress(b"n\n1\n")[:-9], {}, "damaged gzip file"),
        ("a.zip", archive("a.csv", "b.csv"), {}, "an archive of 2 files (a.csv, b.csv)"),
        ("a.zip", archive("a.csv")[:30], {}, "damaged or encrypted zip file"),
        ("a.parquet", b"PAR1half", {}, "damaged Parquet file"),
        ("a.xls", b"\xd0\xcf\x11\xe0half", {}, "damaged Excel file"),
    ],
)
def test_what_cannot_be_read_is_one_line(tmp_path, name, content, options, expected):
    if not expected:
        assert cells(tmp_path, name, content, **options) == [["n"], [1]]
        return
    with pytest.raises(UserError) as caught:
        cells(tmp_path, name, content, **options)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_folders_of_different_tables_are_refused(tmp_path):
    (tmp_path / "a.csv").write_text("n,x\n1,2\n")
    (tmp_path / "b.csv").write_text("n,y\n1,2\n")
    with pytest.raises(UserError, match=r"column 'x' is in a\.csv or b\.csv alone"):
        read_table(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="Is a directory without tables"):
        read_table(tmp_path / "empty")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"sep": "both"}, "sep='both'"),
        ({"decimal": ";"}, "decimal=';': allowed are comma and point"),
        ({"encoding": "ebcdic-9"}, "encoding='ebcdic-9'"),
        ({"columns": ["a", "a"]}, "the names must differ"),
        ({"columns": []}, "the names must differ"),
    ],
)
def test_options_that_cannot_be(options, expected):
    with pytest.raises(ValueError) as caught:
        Reading(**options)
    assert expected in str(caught.value)
