"""Files of texts as people have them: every form gives the same texts and labels."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow
import pytest

from apps.errors import UserError
from apps.sentiment.corpus import Corpus
from apps.sentiment.sources import File
from apps.sentiment.user_file import as_label, in_order, one_spelling
from apps.tables.texts import near_copy, read_texts, texts_of
from tests.apps.sentiment.conftest import reviews

CASES = Path(__file__).parents[4] / "shared/cases/apps"


@pytest.mark.parametrize(
    ("cell", "label"),
    [
        *[(cell, "0") for cell in (0, 0.0, "0", "0.0", " 0 ", np.float64(0), np.int64(0))],
        *[(cell, "-1") for cell in (-1, -1.0, "-1", "-1.0")],
        *[(cell, "true") for cell in (True, "true", "True", "TRUE", np.True_)],
        *[(cell, None) for cell in (None, math.nan, "", "  ", pd.NA)],
        *[(cell, None) for cell in ("nan", "NaN", "null", "NULL", "<NA>", "#N/A")],
        ("NA", "NA"),
        ("None", "None"),
        (["pos"], "pos"),
        (np.array([1.0]), "1"),
        ([None], None),
        (0.5, "0.5"),
        ("1.10", "1.10"),
        ("very good", "very good"),
    ],
)
def test_one_rule_for_labels(cell, label):
    assert as_label(cell) == label


@pytest.mark.parametrize(
    "cell", [[0, 1], {"a": 1}, [], [[0, 1]], [{"a": 1}], np.array([0, 1]), b"0"]
)
def test_a_list_is_no_label(cell):
    with pytest.raises(ValueError, match="is no single label"):
        as_label(cell)


@pytest.mark.parametrize(
    ("labels", "classes", "expected"),
    [
        (["good", "Good", "Good", "bad"], None, ["Good", "Good", "Good", "bad"]),
        (["good", "Good", None], ["good"], ["good", "good", None]),
        (["good", "GOOD", "Good"], ["Good", "GOOD"], ["Good", "GOOD", "Good"]),
    ],
)
def test_labels_that_differ_in_case_alone_are_one(labels, classes, expected):
    found, note = one_spelling(labels, classes)
    assert found == expected
    assert "good read as" in note or "good" not in set(labels) - set(expected)


def test_spellings_of_a_label_are_one_class_and_said(tmp_path):
    table = reviews()[["text", "label"]]
    shout = np.arange(len(table)) % 7 == 0
    table["label"] = table["label"].where(~shout, " " + table["label"].str.upper())
    table.to_csv(tmp_path / "r.csv", index=False)
    found = File(str(tmp_path / "r.csv")).read()
    same(found)
    assert (
        "labels in 'label'; BAD read as bad; GOOD read as good; SO-SO read as so-so" in found.note
    )


@pytest.mark.parametrize("cell", [["a", "film"], b"a film"])
def test_cells_that_are_no_single_text_are_named(tmp_path, cell):
    pd.DataFrame({"text": [cell] * 9, "label": 1}).to_parquet(tmp_path / "r.parquet")
    with pytest.raises(UserError, match=r"column 'text', data row 1: .* is no single text"):
        File(str(tmp_path / "r.parquet")).read()


def test_labels_have_an_order():
    assert in_order({"10", "9", "-1"}) == ("-1", "9", "10")
    assert in_order({"good", "bad", "1"}) == ("1", "bad", "good")


def test_near_copies_are_known_in_any_script():
    assert near_copy("Good, film!") == near_copy("good film") == "good film"
    assert near_copy("\u0425\u043e\u0440\u043e\u0448\u043e!") != near_copy(
        "\u043f\u043b\u043e\u0445\u043e"
    )
    assert near_copy("\U0001f600") != near_copy("\U0001f622")


def same(found: Corpus, classes: tuple[str, ...] = ("bad", "good", "so-so")) -> None:
    assert found.frame["text"].tolist() == reviews()["text"].tolist()
    assert found.classes == classes
    names = np.array(classes)[found.frame["target"]]
    assert names.tolist() == reviews()["label"].tolist()


@pytest.mark.parametrize("text", ["text", "Review", "reviewText", "review_body", "Phrase"])
@pytest.mark.parametrize("label", ["label", "Sentiment", "target"])
def test_common_names_of_columns_are_found_and_said(tmp_path, text, label):
    table = reviews()[["text", "label"]].set_axis([text, label], axis=1)
    table.assign(id=range(len(table))).to_csv(tmp_path / "r.csv", index=False)
    found = File(str(tmp_path / "r.csv")).read()
    same(found)
    assert f"texts in {text!r}" in found.note
    assert f"labels in {label!r}" in found.note


@pytest.mark.parametrize("name", ["stars", "Rating", "overall"])
def test_ratings_are_found_where_there_are_no_labels(tmp_path, name):
    table = reviews()[["text", "stars"]].set_axis(["text", name], axis=1)
    table.to_csv(tmp_path / "r.csv", index=False)
    found = File(str(tmp_path / "r.csv")).read()
    assert found.classes is None
    assert found.frame["target"].tolist() == (2 * (reviews()["stars"] - 3)).tolist()


def test_the_column_of_texts_may_be_in_another_sheet_or_without_a_name(tmp_path):
    with pd.ExcelWriter(tmp_path / "r.xlsx") as book:
        pd.DataFrame({"notes": ["mine"]}).to_excel(book, sheet_name="notes", index=False)
        reviews()[["text", "label"]].to_excel(book, sheet_name="all", index=False)
    with pytest.raises(UserError, match=r"name another sheet with data\.sheet; .* data\.columns"):
        File(str(tmp_path / "r.xlsx")).read()
    same(File(str(tmp_path / "r.xlsx"), sheet="all").read())


def test_an_export_of_objects_names_them(tmp_path):
    rows = [{"id": i, "data": {"text": "good"}, "annotations": [{"id": 1}]} for i in range(9)]
    (tmp_path / "r.json").write_text(json.dumps(rows))
    with pytest.raises(UserError, match=r"\(data, annotations of several values: export one a col"):
        File(str(tmp_path / "r.json")).read()


def _headless(table: pd.DataFrame, path: Path) -> None:
    table.assign(label=table["label"].map({"bad": 0, "so-so": 1, "good": 2})).to_csv(
        path, sep="\t", header=False, index=False
    )


def _stream(table: pd.DataFrame, path: Path) -> None:
    rows = pyarrow.Table.from_pandas(table)
    with pyarrow.OSFile(str(path), "wb") as file, pyarrow.ipc.new_stream(file, rows.schema) as out:
        out.write_table(rows)


WRITERS = {
    "r.tsv": lambda table, path: table.to_csv(path, sep="\t", index=False),
    "semicolons.csv": lambda table, path: table.to_csv(path, sep=";", index=False),
    "utf16.csv": lambda table, path: table.to_csv(path, index=False, encoding="utf-16"),
    "bom.csv": lambda table, path: table.to_csv(path, index=False, encoding="utf-8-sig"),
    "windows.csv": lambda table, path: table.to_csv(path, index=False, lineterminator="\r\n"),
    "r.csv.gz": lambda table, path: table.to_csv(path, index=False),
    "r.csv.zip": lambda table, path: table.to_csv(path, index=False),
    "r.feather": lambda table, path: table.to_feather(path),
    "r.arrow": _stream,
    "r.parquet": lambda table, path: table.to_parquet(path),
    "list.json": lambda table, path: table.to_json(path, orient="records"),
    "r.jsonl": lambda table, path: table.to_json(path, orient="records", lines=True),
    "array.jsonl": lambda table, path: table.to_json(path, orient="records"),
    "index.json": lambda table, path: table.to_json(path, orient="index"),
    "doccano.jsonl": lambda table, path: table.assign(
        label=[[label] for label in table["label"]]
    ).to_json(path, orient="records", lines=True),
    "spark.csv": lambda table, path: table.to_csv(
        path, index=False, quoting=csv.QUOTE_ALL, doublequote=False, escapechar="\\"
    ),
    "blank.jsonl": lambda table, path: path.write_text(
        table.to_json(orient="records", lines=True).replace("\n", "\n\n")
    ),
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_gives_the_same_texts(tmp_path, name):
    WRITERS[name](reviews()[["text", "label"]], tmp_path / name)
    same(File(str(tmp_path / name)).read())


def test_a_file_without_a_header(tmp_path):
    _headless(reviews()[["text", "label"]], tmp_path / "uci.txt")
    found = File(str(tmp_path / "uci.txt"), columns=["text", "label"]).read()
    assert found.frame["text"].tolist() == reviews()["text"].tolist()
    assert found.classes == ("0", "1", "2")


@pytest.mark.parametrize("classes", [[0, 1], [0.0, 1.0], ["0", "1"]])
def test_classes_are_named_as_cells_are(tmp_path, classes):
    rows = [{"text": f"film {i}", "label": [0, 0.0, "0", 1, 1.0, "1"][i % 6]} for i in range(300)]
    (tmp_path / "r.jsonl").write_text("\n".join(map(json.dumps, rows)))
    found = File(str(tmp_path / "r.jsonl"), classes=classes).read()
    assert found.classes == ("0", "1")
    assert found.frame["target"].tolist() == [0, 0, 0, 1, 1, 1] * 50


@pytest.mark.parametrize("value", ["NaN", "null", '""'])
def test_a_missing_label_is_named(tmp_path, value):
    lines = [f'{{"text": "film {i}", "label": {i % 2}}}' for i in range(50)]
    lines[6] = f'{{"text": "film", "label": {value}}}'
    (tmp_path / "r.jsonl").write_text("\n".join(lines))
    with pytest.raises(UserError, match=r"column 'label', data row 7: an empty cell; give every"):
        File(str(tmp_path / "r.jsonl")).read()


@pytest.mark.parametrize(
    "words",
    [
        "\u044d\u043a\u0440\u0430\u043d \u0444\u0438\u043b\u044c\u043c \u043e\u0431\u0435\u0434",
        "\u7535 \u5f71 \u597d",
        "\u0641\u064a\u0644\u0645 \u0631\u0627\u0626\u0639 \u062c\u062f\u0627",
        "\u0939\u093f\u0928\u094d\u0926\u0940 \u092c\u0939\u0941\u0924 \u0905\u091a",
    ],
)
def test_texts_of_any_script_are_documents_of_their_own(tmp_path, words):
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.permutation(words.split() * 4)) for _ in range(300)]
    table = pd.DataFrame({"text": texts, "label": np.arange(300) % 2})
    table.to_csv(tmp_path / "r.csv", index=False)
    found = File(str(tmp_path / "r.csv")).read().frame
    assert found["document"].nunique() == len(set(texts))
    assert found["split"].nunique() == 3


@pytest.mark.skipif(not CASES.is_dir(), reason="the cases are not beside this checkout")
@pytest.mark.parametrize(
    ("name", "classes"),
    [
        ("russian.csv", ("0", "1")),
        ("int_classes.csv", ("0", "1")),
        ("blank_line.jsonl", ("0", "1")),
        ("int_and_float_labels.jsonl", ("0", "1")),
    ],
)
def test_the_cases_are_read(name, classes):
    assert File(str(CASES / name)).read().classes == classes


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("last", [True, False])
def test_lines_end_as_any_system_ends_them(tmp_path, end, last):
    (tmp_path / "a.txt").write_bytes((f"good{end}{end}bad" + end * last).encode())
    assert texts_of(read_texts(tmp_path / "a.txt", "text"), "text") == ["good", "", "bad"]


def test_lines_to_be_judged_keep_their_number(tmp_path):
    (tmp_path / "a.txt").write_text("good\n\n  \nbad, very; bad\n")
    assert texts_of(read_texts(tmp_path / "a.txt", "text"), "text") == [
        "good",
        "",
        "  ",
        "bad, very; bad",
    ]
    (tmp_path / "a.csv").write_text("review\ngood\n   \n\nbad\n")
    assert texts_of(read_texts(tmp_path / "a.csv", "text"), "text") == ["good", "   ", "", "bad"]
    (tmp_path / "b.csv").write_text("id,words\n1,good\n")
    with pytest.raises(UserError, match="no column 'text'; there are id, words"):
        read_texts(tmp_path / "b.csv", "text")
