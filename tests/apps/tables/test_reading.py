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
TWICE = [["x", "5"], [None, None], ["n", "x"], ["y", "2"]]  # two tables, of which none is chosen
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
        ("a.csv", "#,x\n1,a\n2,b\n", [["#", "x"], ["1", "a"], ["2", "b"]]),
        ("a.csv", "% by me, of, mine\nn,x\n1,2\n", [["n", "x"], ["1", "2"]]),
        ("a.csv", "n,x\n1,2\n\x1a", [["n", "x"], ["1", "2"]]),
        ("a.csv", "n,x\na,b\n1,2\n3,4\n", [["n", "x"], [None, None], ["1", "2"], ["3", "4"]]),
        ("a.csv", "n,x\na,b\n1,c\n3,d\n", [["n", "x"], ["a", "b"], ["1", "c"], ["3", "d"]]),
        ("a.csv", "n,x\na,b\n5 it,1\n4,2\n", [["n", "x"], ["a", "b"], ["5 it", "1"], ["4", "2"]]),
        ("a.csv", "n\na\n1\n2\n", [["n"], ["a"], ["1"], ["2"]]),
        ("a.csv", "n,x\n1,2\nn,x\n3,4\n", [["n", "x"], ["1", "2"], [None, None], ["3", "4"]]),
        ("a.csv", "n\nn\nm\n", [["n"], ["n"], ["m"]]),
        ("a.csv", "'n','x'\n'1','2'\n'3','4'\n", [["n", "x"], ["1", "2"], ["3", "4"]]),
        ("a.csv", 'n,x\n1,"a \\"b\\", c"\n2,"d"\n', [["n", "x"], ["1", 'a "b", c'], ["2", "d"]]),
        ("a.csv", "n,x\n1,2\nthis, too\n", [["n", "x"], ["1", "2"], ["this", " too"]]),
        ("a.csv", "n,x\n1,2\n3,4\nby me\n", [["n", "x"], ["1", "2"], ["3", "4"], [None, None]]),
        ("a.csv", "n,x\na,1\nb,2\nc\n", [["n", "x"], ["a", "1"], ["b", "2"], ["c", None]]),
        ("a.csv", "n,x\n--,---\n1,2\n", [["n", "x"], [None, None], ["1", "2"]]),
        ("a.csv", "x,1,2\n7,5,6\n", [["x", "1", "2"], ["7", "5", "6"]]),
        ("a.csv", "a,b\nx,5\n\nn,x\ny,2\n", [["a", "b"], *TWICE]),
        ("a.json", '{"0": {"n": 1, "x": 2}, "1": {"n": 3, "x": 4}}', [["n", "x"], [1, 2], [3, 4]]),
        ("a.tsv", 'n\tx\n1\tsaid "no" to\n', [["n", "x"], ["1", 'said "no" to']]),
        ("a.tsv", 'n\tx\n1\t"no" he said\n', [["n", "x"], ["1", '"no" he said']]),
        ("a.json", '[{"n": 1, "x": null}, {"x": "2"}]', [["n", "x"], [1, None], [None, "2"]]),
        ("a.json", '{"n": [1, 2], "x": [3, 4]}', [["n", "x"], [1, 3], [2, 4]]),
        ("a.json", '{"n": {"0": 1}, "x": {"0": 3}}', [["n", "x"], [1, 3]]),
        ("a.json", json.dumps(SPLIT), [["n", "x"], [1, 2], [3, None]]),
        ("a.json", '{"data": [{"n": 1}, {"n": 2}]}', [["n"], [1], [2]]),
        ("a.json", '{"a": {"page": 1, "rows": [{"n": 1}]}}', [["n"], [1]]),
        ("a.json", '{"page": 1, "data": [{"n": 1}]}', [["n"], [1]]),
        ("a.jsonl", '{"n": 0, "x": {"y": 1}}\n', [["n", "x"], [0, {"y": 1}]]),
        ("a.jsonl", '{"n": 0}\n\n{"n": 0.0}\n{"n": "0"}\n', [["n"], [0], [0.0], ["0"]]),
    ],
)  # fmt: skip
def test_cells_are_as_they_are(tmp_path, name, content, expected):
    assert cells(tmp_path, name, content) == expected


WORDS = {
    "cp1251": "\u0444\u0438\u043b\u044c\u043c \u043e\u0447\u0435\u043d\u044c "
    "\u0445\u043e\u0440\u043e\u0448\u0438\u0439",
    "koi8_r": "\u0430\u043a\u0442\u0451\u0440\u044b \u0438\u0433\u0440\u0430\u043b\u0438 "
    "\u043f\u0440\u0435\u043a\u0440\u0430\u0441\u043d\u043e",
    "cp1252": "les acteurs sont \u00e0 la hauteur, o\u00f9 est l\u2019int\u00e9r\u00eat",
    "cp1250": "film jest \u015bwietny, aktorzy s\u0105 przekonuj\u0105cy, \u017ale si\u0119",
    "cp1254": "\u00e7ok g\u00fczel \u015fahane, k\u00f6t\u00fc de\u011fil ama "
    "s\u0131k\u0131c\u0131yd\u0131",
    "cp1253": "\u03c0\u03bf\u03bb\u03cd \u03ba\u03b1\u03bb\u03ae "
    "\u03c4\u03b1\u03b9\u03bd\u03af\u03b1",
    "shift_jis": "\u6620\u753b\u306f\u3068\u3066\u3082\u9762\u767d\u304b\u3063\u305f",
    "euc_jp": "\u6620\u753b\u306f\u3068\u3066\u3082\u9762\u767d\u304b\u3063\u305f",
    "gb18030": "\u7535\u5f71\u5f88\u597d\u770b\u6211\u559c\u6b22",
    "euc_kr": "\uc601\ud654\uac00 \uc815\ub9d0 \uc7ac\ubbf8\uc788\uc5b4\uc694",
    "utf_16_be": "\u7535\u5f71\u5f88\u597d\u770b",
}


@pytest.mark.parametrize(
    "sign", ["\u2019", "\u201c", "\u2026", "\u2013", "\u20ac", "\u00bd", "\u00ae", "\u00a0"]
)
@pytest.mark.parametrize("words", ["it is", "kjh qwz"])
def test_the_signs_of_windows_alone_are_those(tmp_path, sign, words):
    text = "n,note\n" + "".join(f"{i},{words} {sign} so\n" for i in range(40))
    found = cells(tmp_path, "a.csv", text.encode("cp1252"))
    assert found[1:] == [[str(i), f"{words} {sign} so"] for i in range(40)]


@pytest.mark.parametrize("encoding", WORDS)
def test_the_encodings_that_programs_write(tmp_path, encoding):
    text = "n\tnote\n" + "".join(f"{i}\t{WORDS[encoding]}\n" for i in range(30))
    found = cells(tmp_path, "a.csv", text.encode(encoding))
    assert found[1:] == [[str(i), WORDS[encoding]] for i in range(30)]


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
        ("a.csv", b"n,x\n" + b"1,2\n" * 99 + b"3,\0\n", {}, "line 101: a NUL byte"),
        ("a.csv", "at,n\n1,4,103\n2,5,101\n", {}, "data row 1 has 3 cells, the header has 2"),
        ("a.csv", b"n\n\xff\n", {"encoding": "utf-8"}, "line 2: not utf-8 text"),
        ("a.csv", b"n\n" + b"\xd0\xb7" * 9 + b"\n\xff\n", {}, "line 3: not utf-8 text"),
        ("a.json", "{", {}, "not JSON"),
        ("a.json", "[]", {}, "JSON without a table"),
        ("a.json", "{}", {}, "JSON without a table"),
        ("a.json", "[1, 2, 3]", {}, "JSON without a table"),
        ("a.csv", "<!DOCTYPE html><html>404</html>", {}, "a web page or another document"),
        ("a.xls", "<table><tr><td>1</td></tr></table>", {}, "a web page or another document"),
        ("a.csv", b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n1 0 obj\n" * 9, {}, "neither a table in a known"),
        ("a.csv", b"%PDF-1.4\n1 0 obj\n" * 9, {}, "a web page or another document"),
        ("a.csv", " \n  \n", {}, "the file is empty"),
        ("a.json", '{"n": 1}', {}, ""),
        ("a.jsonl", '{"n": 1}\n[2]\n', {}, "line 2: not a JSON object"),
        ("a.csv.gz", gzip.compress(b"n\n1\n")[:-9], {}, "damaged gzip file"),
        ("a.zip", archive("a.csv", "b.csv"), {}, "an archive of 2 files (a.csv, b.csv)"),
        ("a.zip", archive("a.csv")[:30], {}, "damaged or encrypted zip file"),
        ("a.arrow", b"ARROW1half", {}, "damaged Arrow file"),
        ("a.arrow", b"\xff" * 9, {}, "damaged Arrow file"),
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
