"""Parts of words: learnt from training texts alone, saved with the run, shown as whole words."""

from __future__ import annotations

import functools
import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from apps.sentiment.encoding import Encoding
from apps.sentiment.subwords import Subwords, SubwordVocabulary
from apps.sentiment.vocabulary import PADDING, UNKNOWN
from tests.apps.runs import metrics
from tests.conftest import refused, succeed

TEXTS = ["The unhappiest film", "the happiest films", "a happier filming"] * 3


@pytest.fixture(scope="module")
def vocabulary() -> SubwordVocabulary:
    return Subwords(max_size=60).build(TEXTS, [])


def test_words_never_seen_are_read_in_parts_that_are_known(vocabulary):
    pieces = vocabulary.read("Unhappier films!")
    assert len(pieces) > 2
    assert pieces[0].word == "Unhappier"
    parts = [vocabulary.tokenizer.id_to_token(piece.number) for piece in pieces]
    assert "".join(parts[:-2]) == "\u2581unhappier\u2581films"
    assert (pieces[-1].number, pieces[-1].word) == (UNKNOWN, "!"), "a sign no training text has"


def test_numbers_are_those_of_the_library(vocabulary):
    plain = Tokenizer.from_str(vocabulary.to_dict()["subwords"])
    expected = plain.encode(["the", "happy", "film"], is_pretokenized=True).ids
    assert vocabulary.encode("The happy film", 99).tolist() == expected


def test_learning_again_gives_the_same_parts(vocabulary):
    assert Subwords(max_size=60).build(TEXTS, []).to_dict() == vocabulary.to_dict()
    assert len(vocabulary) <= 60
    assert len(Subwords(max_size=40).build(TEXTS, [])) == 40


def test_a_saved_vocabulary_reads_alike(vocabulary):
    encoding = Encoding(vocabulary, 5, None, 0, "text")
    again = Encoding.from_dict(json.loads(json.dumps(encoding.to_dict())))
    for text in ("The unhappiest [UNK] film of them all", "", "[PAD]"):
        assert again.encode([text])[0].tolist() == encoding.encode([text])[0].tolist()
        assert len(encoding.encode([text])[0]) <= 5


@functools.cache
def learnt() -> str:
    return Subwords(max_size=60).build(TEXTS, []).to_dict()["subwords"]


@given(st.text(max_size=60))
def test_any_text_has_pieces_of_its_words(text):
    vocabulary = SubwordVocabulary(learnt())
    pieces = vocabulary.read(text)
    assert all(PADDING < piece.number < len(vocabulary) for piece in pieces)
    assert [piece.place for piece in pieces] == sorted(piece.place for piece in pieces)


def test_a_run_with_subwords_learns_and_explains_whole_words(rated, tmp_path):
    run = tmp_path / "run"
    size = ["vocabulary=subword", "vocabulary.max_size=90"]
    succeed("train", *rated, *size, f"run_dir={run}")
    assert metrics(run)["test"]["accuracy"] > 0.9
    assert "subwords" in json.loads((run / "data.json").read_text())["vocabulary"]
    out = succeed("predict", f"run={run}", "text=The film is superb")
    assert "superb +" in out


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["vocabulary.max_size=0"], "max_size must be >= 1, got 0"),
        (["vocabulary.max_size=many"], "vocabulary.max_size='many'"),
        (["vectors=glove"], "vectors of words need vocabulary=words"),
    ],
)
def test_settings_that_cannot_be(rated, empty_folder: Path, overrides, expected):
    assert expected in refused("train", *rated, "vocabulary=subword", *overrides, "run_dir=run")


def test_a_run_whose_tokenizer_is_spoilt(rated_run, empty_folder):
    run = Path(shutil.copytree(rated_run, empty_folder / "run"))
    record = json.loads((run / "data.json").read_text())
    (run / "data.json").write_text(json.dumps({**record, "vocabulary": {"subwords": "{"}}))
    assert "not a sentiment encoding: no tokenizer" in refused("predict", f"run={run}", "text=hi")
