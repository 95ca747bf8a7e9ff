"""The user's file: what becomes of its rows, and every flaw in one line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from apps.errors import UserError
from apps.sentiment.corpus import Corpus
from apps.sentiment.sources import File, Prepared
from tests.apps.sentiment.conftest import reviews


def read(path: Path, **options: object) -> Corpus:
    return File(str(path), **{"label": "label", **options}).read()


def test_ratings_are_moved_to_one_scale_and_documents_stay_whole(reviews_csv):
    corpus = read(reviews_csv, label=None, rating="stars", domain="kind", document="review")
    assert corpus.classes is None
    assert corpus.frame["target"].tolist() == (2 * (reviews()["stars"] - 3)).tolist()
    assert corpus.frame["domain"].tolist() == reviews()["kind"].tolist()
    assert corpus.frame.groupby("document")["split"].nunique().max() == 1
    shares = corpus.frame["split"].value_counts(normalize=True)
    assert 0.1 < shares["test"] < 0.3
    assert "ratings in 'stars', 1 to 5 read as -4 to 4" in corpus.note


def test_labels_become_numbers_in_the_order_given(reviews_csv):
    assert read(reviews_csv).classes == ("bad", "good", "so-so")
    corpus = read(reviews_csv, classes=["bad", "so-so", "good"])
    names = np.array(["bad", "so-so", "good"])[corpus.frame["target"]]
    assert names.tolist() == reviews()["label"].tolist()


def test_json_lines_and_csv_give_the_same_texts(reviews_csv, tmp_path):
    path = tmp_path / "reviews.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in reviews().to_dict("records")))
    pd.testing.assert_frame_equal(read(path).frame, read(reviews_csv).frame)


def test_copies_of_a_text_fall_on_one_side(tmp_path):
    table = pd.concat([reviews(), reviews().assign(text=reviews()["text"].str.upper() + " !!")])
    table.to_csv(tmp_path / "twice.csv", index=False)
    split = read(tmp_path / "twice.csv").frame["split"].to_numpy()
    assert (split[:400] == split[400:]).all()


def test_other_rows_do_not_move_a_text_to_another_side(reviews_csv, tmp_path):
    reviews().iloc[100:].to_csv(tmp_path / "fewer.csv", index=False)
    assert (
        read(tmp_path / "fewer.csv").frame["split"].tolist()
        == (read(reviews_csv).frame["split"].tolist()[100:])
    )


def test_rows_without_a_text_are_left_out_and_counted(tmp_path):
    table = reviews()
    table.loc[[3, 8], "text"] = [None, "  "]
    table.loc[9, "text"] = "NA"
    table.loc[3, "label"] = None
    table.to_csv(tmp_path / "gaps.csv", index=False)
    corpus = read(tmp_path / "gaps.csv")
    assert len(corpus.frame) == 398
    assert "NA" in set(corpus.frame["text"])
    assert "2 rows without a text left out" in corpus.note


def test_domains_to_train_and_to_test_on(reviews_csv):
    corpus = read(reviews_csv, domain="kind", train_domains=["shop"], test_domains=["cinema"])
    assert set(corpus.part("test")["domain"]) == {"cinema"}
    assert set(corpus.part("train")["domain"]) == set(corpus.part("val")["domain"]) == {"shop"}


@pytest.mark.parametrize(
    ("spoil", "options", "expected"),
    [
        (lambda t: t[t["label"] == "good"], {}, "texts of one class only ('good')"),
        (
            lambda t: t[t["stars"] > 3],
            {"label": None, "rating": "stars", "rating_range": (1, 5)},
            "texts of one class only ('positive')",
        ),
        (
            lambda t: t.assign(label=t["label"].replace("so-so", "meh")),
            {"classes": ["bad", "so-so", "good"]},
            "unknown label 'meh'; data.classes are bad, so-so, good",
        ),
        (lambda t: t.assign(label=t.index), {}, "has 400 different labels; at most 50"),
        (lambda t: t.assign(label=t["label"].where(t.index != 6)), {}, "data row 7: an empty cell"),
        (lambda t: t, {"label": "mood"}, "no column 'mood'; there are text, stars, label"),
        (lambda t: t, {"text": "body"}, "no column 'body'"),
        (lambda t: t, {"label": None, "rating": "label"}, "data row 1: "),
        (
            lambda t: t,
            {"label": None, "rating": "stars", "rating_range": (1, 4)},
            "is outside data.rating_range=[1, 4]",
        ),
        (lambda t: t.iloc[:8], {}, "none of"),
        (lambda t: t.iloc[:0], {}, "a header but no rows"),
        (lambda t: t, {"domain": "kind", "test_domains": ["radio"]}, "the domains cinema, shop"),
    ],
)
def test_a_table_that_does_not_do(tmp_path, spoil, options, expected):
    spoil(reviews()).to_csv(tmp_path / "bad.csv", index=False)
    with pytest.raises(UserError) as caught:
        read(tmp_path / "bad.csv", **options)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.csv", b"", "the file is empty"),
        ("a.jsonl", b"", "the file is empty"),
        ("a.jsonl", b'{"text": "x", "label": "y"}\n\xff\n', "line 2: not JSON"),
        ("a.jsonl", b'{"text": ["x"], "label": "y"}\n{"text": "x"}\n', "['x'] is no single text"),
        (
            "a.jsonl",
            b'{"text": "x", "label": [0, 1]}\n{"text": "x"}\n',
            "[0, 1] is no single label",
        ),
        ("a.jsonl", b'{"text": "x"}\n{"text"\n', "line 2: not JSON"),
        ("a.parquet", b"", "the file is empty"),
        ("a.txt", b"good\n", "a header but no rows"),
        ("a.txt", b"good film\t1\nbad film\t0\n", "data.columns=[column1,column2]"),
        ("a.csv", b"text,stars\ngood,4/5\nbad,1/5\n", "row 1: '4/5' is not a finite number"),
        ("a.csv", b"body,mood\ngood,1\nbad,0\n", "set data.label (classes) or data.rating"),
        ("a.csv", b"words,label\ngood,1\nbad,0\n", "data.text: which column holds texts?"),
        ("a.csv", b"text,label\ngood,1\nbad, or so,0\n", "data row 2 has 3 cells"),
    ],
)
def test_a_file_that_cannot_be_read(tmp_path, name, content, expected):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError) as caught:
        File(str(tmp_path / name)).read()
    assert expected in str(caught.value)
    assert "data.missing" not in str(caught.value), "which texts do not have"


def test_a_file_that_is_not_there():
    for name in ("none.csv", "none.jsonl"):
        with pytest.raises(UserError, match=r"none\.\w+: no such file"):
            read(Path(name))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"label": "a", "rating": "b"}, "name one column, label or rating"),
        ({"label": "a", "val_fraction": 0.6, "test_fraction": 0.4}, "leave texts to train on"),
        ({"rating": "a", "rating_range": (5, 1)}, "lowest and highest"),
    ],
)
def test_options_that_cannot_be(options, expected):
    with pytest.raises(ValueError, match=expected):
        File("a.csv", **options)


def test_a_prepared_set_has_its_domains(tmp_path):
    folder = tmp_path / "sentiment" / "mine"
    folder.mkdir(parents=True)
    table = reviews().rename(columns={"kind": "domain", "review": "document"})
    table["rating"] = table.pop("stars") - 3.0
    table["split"] = ["train", "val", "test", "test"] * 100
    table.drop(columns="label").to_parquet(folder / "data.parquet")
    source = Prepared("mine", str(tmp_path), train_domains=["shop"], test_domains=["cinema"])
    corpus = source.read()
    assert corpus.classes is None
    assert set(corpus.part("test")["domain"]) == {"cinema"}
    with pytest.raises(UserError, match=r"data.train_domains=\['x'\]: mine has the domains cinema"):
        Prepared("mine", str(tmp_path), train_domains=["x"]).read()
