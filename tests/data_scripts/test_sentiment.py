from __future__ import annotations

import io
import tarfile
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from apps.sentiment.corpus import PARTS
from apps.sentiment.sources import Prepared
from data_scripts import sentiment
from data_scripts.manifest import DataError, sha256, verify

MIRROR = Path(__file__).parents[3] / "shared/data"
needs_mirror = pytest.mark.skipif(not MIRROR.is_dir(), reason=f"no data mirror at {MIRROR}")


def test_unknown_data_set_lists_the_known(tmp_path):
    with pytest.raises(DataError, match="'sst' is unknown; known are human_rated, sst2, mr, imdb"):
        sentiment.prepare("sst", tmp_path)


@needs_mirror
def test_sst2_has_the_published_split(tmp_path):
    folder = sentiment.prepare("sst2", tmp_path, MIRROR)
    table = pd.read_parquet(folder / "data.parquet")
    assert dict(table["split"].value_counts()) == {"train": 6920, "test": 1821, "val": 872}
    # First line of the file: "1 a stirring , funny and finally transporting re-imagining ..."
    assert table["text"][0].startswith("a stirring , funny and finally transporting")
    assert table["label"][0] == "positive"
    assert verify(folder).rows == len(table)


@pytest.mark.slow  # needs the package registry
def test_human_rated_sentences_are_split_by_document(tmp_path):
    folder = sentiment.prepare("human_rated", tmp_path)
    table = pd.read_parquet(folder / "data.parquet")
    sizes = table.groupby(["domain", "split"]).size().unstack()[["train", "val", "test"]]
    assert sizes.to_numpy().tolist() == [
        [2573, 401, 725],
        [7441, 1010, 2153],
        [3668, 549, 972],
        [2966, 380, 853],
    ]
    assert table.groupby(["domain", "document"])["split"].nunique().max() == 1
    assert table["rating"].between(-4, 4).all()
    texts = table["text"].map(sentiment.normalise)
    sides = [set(texts[table["split"] == part]) - {""} for part in ("train", "val", "test")]
    assert not sides[2] & (sides[0] | sides[1])
    assert not sides[0] & sides[1]


def archive(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as packed:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            packed.addfile(member, io.BytesIO(content))
    return path


def mr_archive(path: Path) -> Path:
    """Snippets laid out like the real archive, each with its near copy on the other side."""
    # Byte 85 stands in some of the real snippets: no line ends there.
    lines = [f"caf\xe9 number {i} \x85 ." for i in range(200)]
    copies = [line.upper() + "!" for line in lines]
    return archive(
        path,
        {
            "rt-polaritydata/rt-polarity.neg": "\n".join(lines).encode("latin-1"),
            "rt-polaritydata/rt-polarity.pos": "\r\n".join(copies).encode("latin-1"),
            "rt-polaritydata.README.1.0.txt": b"Introduction",
        },
    )


def test_mr_is_read_as_latin_1_and_copies_stay_together(tmp_path):
    table = sentiment.read_mr([mr_archive(tmp_path / "mr.tar.gz")])
    assert table["label"].tolist() == ["negative"] * 200 + ["positive"] * 200
    assert table["text"][0] == "caf\xe9 number 0 \x85 ."
    assert table["text"][200] == "CAF\xc9 NUMBER 0 \x85 .!"
    assert table["split"][:200].tolist() == table["split"][200:].tolist()
    assert set(table["split"]) == {"train", "val", "test"}


def imdb_archive(path: Path) -> Path:
    """Reviews laid out like the real archive, three of each film."""
    members = {"aclImdb/README": b"Large Movie Review Dataset v1.0"}
    for part in ("train", "test"):
        for label in ("neg", "pos"):
            films = [f"http://www.imdb.com/title/{part}{i // 3}/usercomments" for i in range(60)]
            members[f"aclImdb/{part}/urls_{label}.txt"] = "\n".join(films).encode()
            members[f"aclImdb/{part}/labeledBow.feat"] = b"9 0:9 1:1"
            for i in range(60):
                members[f"aclImdb/{part}/{label}/{i}_7.txt"] = f"{part} {label} {i}<br />".encode()
    members["aclImdb/train/unsup/0_0.txt"] = b"no label"
    return archive(path, members)


def test_imdb_keeps_its_test_reviews_and_never_splits_a_film(tmp_path):
    table = sentiment.read_imdb([imdb_archive(tmp_path / "imdb.tar.gz")])
    assert len(table) == 240
    tested = table["text"].str.startswith("test")
    assert (tested == (table["split"] == "test")).all()
    assert 0 < (table["split"] == "val").sum() < 60
    assert table.groupby("document")["split"].nunique().max() == 1
    row = table[table["text"] == "train pos 5<br />"].iloc[0]
    assert (row["label"], row["document"]) == (
        "positive",
        "http://www.imdb.com/title/train1/usercomments",
    )


def test_no_archive_is_an_error(tmp_path):
    (tmp_path / "mr.tar.gz").write_text("nothing")
    with pytest.raises(DataError, match="cannot be read"):
        sentiment.read_mr([tmp_path / "mr.tar.gz"])


@pytest.mark.parametrize(("name", "pack"), [("mr", mr_archive), ("imdb", imdb_archive)])
def test_a_set_is_prepared_from_a_mirror_whose_archive_has_the_checksum(
    monkeypatch, tmp_path, name, pack
):
    known = sentiment.DATASETS[name]
    path = tmp_path / "mirror" / known.sources[0].mirror[0]
    path.parent.mkdir(parents=True)
    checksum = sha256(pack(path))
    with pytest.raises(
        DataError, match=f"SHA-256 is {checksum}, expected {known.sources[0].sha256}"
    ):
        sentiment.prepare(name, tmp_path / "refused", tmp_path / "mirror")
    sample = replace(known, sources=(replace(known.sources[0], sha256=checksum),))
    monkeypatch.setitem(sentiment.DATASETS, name, sample)
    folder = sentiment.prepare(name, tmp_path, tmp_path / "mirror")
    assert verify(folder).splits.keys() == {"train", "val", "test"}
    corpus = Prepared(name, str(tmp_path)).read()
    assert corpus.classes == ("negative", "positive")
    for part in PARTS:
        assert set(corpus.part(part)["target"]) == {0, 1}
