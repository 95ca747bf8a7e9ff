"""Sentiment data sets: `python -m data_scripts.sentiment --dataset human_rated --data-dir data`.

human_rated  sentences of reviews, films, editorials and tweets with the mean of human ratings
sst2         film review sentences, negative or positive (Stanford Sentiment Treebank)
mr           film review snippets, negative or positive (Pang and Lee 2005)
imdb         whole film reviews, negative or positive (Maas et al. 2011)

Each becomes one table with a row a text; a document is never on both sides of a split.
"""

from __future__ import annotations

import hashlib
import io
import re
import sys
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd

from data_scripts.fetch import read_member
from data_scripts.manifest import DataError, Dataset, Manifest
from data_scripts.prepare import command_line, prepare_folder, write_table
from data_scripts.sentiment_catalogue import COLUMNS, DATASETS, LABELLED, RATED
from data_scripts.unpacking import members

ROOT = "vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz"
ROOT_SHA256 = "d5bb07d87474b3eb8d30b4deccbc23f19d742a6c5718fbacc65485b70b95c5fa"
RATED_FILES = {
    "amazon": "amazonReviewSnippets",
    "movie": "movieReviewSnippets",
    "nyt": "nytEditorialSnippets",
    "tweets": "tweets",
}
_REVIEW = re.compile(r"aclImdb/(train|test)/(neg|pos)/(\d+)_\d+\.txt")


def prepare(dataset: str, data_dir: Path, mirror: Path | None = None) -> Path:
    """Return `data_dir/sentiment/<dataset>` holding `data.parquet` and `manifest.json`.

    Does nothing more when both are there and the checksum agrees. Raises DataError for an
    unknown data set and for files that cannot be had or fail their checksum.
    """
    if dataset not in DATASETS:
        raise DataError(f"dataset {dataset!r} is unknown; known are {', '.join(DATASETS)}")

    def convert(raw: Sequence[Path], folder: Path) -> Manifest:
        table = _CONVERTERS[dataset](raw)
        return _describe(DATASETS[dataset], table, write_table(table, folder))

    return prepare_folder(DATASETS[dataset], data_dir, mirror, convert)


def _describe(description: Dataset, table: pd.DataFrame, files: dict[str, str]) -> Manifest:
    target = RATED if "rating" in table else LABELLED
    sizes = {part: f"{(table['split'] == part).sum()} rows" for part in ("train", "val", "test")}
    details = {"domains": sorted(set(table["domain"])), "target": next(iter(target))}
    return Manifest(description, files, len(table), COLUMNS | target, sizes, details)


def read_human_rated(files: Sequence[Path]) -> pd.DataFrame:
    """Read the four rated files of Hutto and Gilbert (2014), 23,691 rows of 23,703.

    Editorials and product reviews are grouped by their document, the others by their text.
    """
    archive = read_member(files[0], ROOT, ROOT_SHA256)
    parts = []
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as packed:
        for domain, name in RATED_FILES.items():
            stream = packed.extractfile(f"hutto_ICWSM_2014/{name}_GroundTruth.txt")
            assert stream is not None  # the archive's checksum has been verified
            lines = stream.read().decode("utf-8").rstrip("\r\n").split("\r\n")
            rows = [line.split("\t") for line in lines]
            part = pd.DataFrame(rows, columns=["id", "rating", "text"])
            parts.append(part.assign(domain=domain, rating=part["rating"].astype(float)))
    table = pd.concat(parts, ignore_index=True)
    normalised = table["text"].map(normalise)
    by_document = table["domain"].isin(["amazon", "nyt"])
    table["document"] = table["id"].str.rsplit("_", n=1).str[0].where(by_document, normalised)
    return _split(table, normalised)[["domain", "document", "text", "rating", "split"]]


def read_sst2(files: Sequence[Path]) -> pd.DataFrame:
    """Read SST-2: lines of `0 text` or `1 text`, in the published split."""
    parts = []
    for file, split in zip(files, ("train", "val", "test"), strict=True):
        lines = file.read_text(encoding="utf-8").splitlines()
        parts.append(pd.DataFrame([line.split(" ", 1) for line in lines]).assign(split=split))
    table = pd.concat(parts, ignore_index=True).set_axis(["label", "text", "split"], axis=1)
    table["label"] = table["label"].map({"0": "negative", "1": "positive"})
    return _labelled(table.assign(document=[str(i) for i in range(len(table))]), "film")


def read_mr(files: Sequence[Path]) -> pd.DataFrame:
    """Read MR: 10,662 snippets in Latin-1; split by a hash of the text, as none is published."""
    parts = []
    with _open(files[0]) as packed:
        for label in ("negative", "positive"):
            stream = packed.extractfile(f"rt-polaritydata/rt-polarity.{label[:3]}")
            assert stream is not None  # the archive's checksum has been verified
            # Byte 85, an ellipsis in some snippets, would end a line for `splitlines`.
            lines = stream.read().decode("latin-1").rstrip("\r\n").split("\n")
            texts = [line.rstrip("\r") for line in lines]
            parts.append(pd.DataFrame({"text": texts, "label": label}))
    table = pd.concat(parts, ignore_index=True)
    normalised = table["text"].map(normalise)
    split = _split(table.assign(domain="film", document=normalised), normalised)
    return _labelled(split, "film")


def read_imdb(files: Sequence[Path]) -> pd.DataFrame:
    """Read IMDB: 50,000 reviews in the published split, a tenth of the training films for val."""
    with _open(files[0]) as packed:
        films = {}
        for part in ("train", "test"):
            for label in ("neg", "pos"):
                stream = packed.extractfile(f"aclImdb/{part}/urls_{label}.txt")
                assert stream is not None  # the archive's checksum has been verified
                films[part, label] = stream.read().decode("utf-8").split()
    table = pd.DataFrame(_reviews(files[0], films))
    in_val = table["document"].map(lambda film: bucket("film", film) < 10)
    table.loc[(table["split"] == "train") & in_val, "split"] = "val"
    return _labelled(table.sort_values("number", kind="stable"), "film")


def _reviews(path: Path, films: dict[tuple[str, str], list[str]]) -> Iterator[dict[str, str | int]]:
    with _open(path) as packed:
        for member in members(packed, path):
            found = _REVIEW.fullmatch(member.name)
            stream = packed.extractfile(member) if found else None
            if found is None or stream is None:
                continue
            part, label, number = found[1], found[2], int(found[3])
            yield {
                "number": number,
                "split": part,
                "label": {"neg": "negative", "pos": "positive"}[label],
                "document": films[part, label][number],
                "text": stream.read().decode("utf-8"),
            }


def _open(path: Path) -> tarfile.TarFile:
    try:
        return tarfile.open(path, "r:gz")
    except (OSError, tarfile.TarError) as error:
        raise DataError(f"{path}: cannot be read ({error})") from None


def _labelled(table: pd.DataFrame, domain: str) -> pd.DataFrame:
    table = table.assign(domain=domain)
    return table[["domain", "document", "text", "label", "split"]].reset_index(drop=True)


def normalise(text: str) -> str:
    """Lower-case letters and digits with single spaces between: equal for near copies."""
    return re.sub("[^a-z0-9]+", " ", text.lower()).strip()


def bucket(domain: str, document: str) -> int:
    """A number below 100 that depends on the document alone."""
    digest = hashlib.sha256(f"sent-v1|{domain}|{document}".encode()).hexdigest()
    return int(digest[:8], 16) % 100


def _split(table: pd.DataFrame, normalised: pd.Series) -> pd.DataFrame:
    """Split by document, 20 % test and 10 % val, without rows that repeat a later side's text."""
    buckets = [bucket(d, g) for d, g in zip(table["domain"], table["document"], strict=True)]
    split = pd.cut(pd.Series(buckets), [-1, 19, 29, 99], labels=["test", "val", "train"])
    table = table.assign(split=split.astype(str))
    sides = {part: set(normalised[table["split"] == part]) - {""} for part in ("test", "val")}
    repeats = (table["split"] != "test") & normalised.isin(sides["test"])
    repeats |= (table["split"] == "train") & normalised.isin(sides["val"])
    return table[~repeats].reset_index(drop=True)


_CONVERTERS = {
    "human_rated": read_human_rated,
    "sst2": read_sst2,
    "mr": read_mr,
    "imdb": read_imdb,
}


if __name__ == "__main__":
    sys.exit(command_line(prepare, DATASETS))
