"""A folder of converted files is made once, and again when what makes it has changed."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

from data_scripts.manifest import MANIFEST, Dataset, Manifest, sha256
from data_scripts.prepare import prepare_folder

DATASET = Dataset("tiny", "energy", (), "none", "nobody")


def converted(description: Dataset, data_dir: Path) -> bool:
    """Prepare the data set; whether that converted it."""
    called = []

    def convert(raw: Sequence[Path], folder: Path) -> Manifest:
        called.append(raw)
        folder.mkdir(parents=True, exist_ok=True)
        table = folder / "table.csv"
        table.write_text("1,2\n")
        return Manifest(description, {table.name: sha256(table)}, 1, {}, {})

    folder = prepare_folder(description, data_dir, None, convert)
    assert folder == data_dir / "energy/tiny"
    return bool(called)


def test_a_folder_is_converted_once_and_when_it_is_damaged(tmp_path: Path) -> None:
    assert converted(DATASET, tmp_path)
    assert not converted(DATASET, tmp_path)
    (tmp_path / "energy/tiny/table.csv").write_text("1,3\n")
    assert converted(DATASET, tmp_path)


def test_what_an_older_recipe_left_is_converted_again(tmp_path: Path) -> None:
    assert converted(DATASET, tmp_path)
    newer = dataclasses.replace(DATASET, recipe=2)
    assert converted(newer, tmp_path)
    assert not converted(newer, tmp_path)


def test_a_manifest_without_a_recipe_is_of_the_first(tmp_path: Path) -> None:
    assert converted(DATASET, tmp_path)
    path = tmp_path / "energy/tiny" / MANIFEST
    record = json.loads(path.read_text())
    del record["dataset"]["recipe"]
    path.write_text(json.dumps(record))
    assert not converted(DATASET, tmp_path)
    assert converted(dataclasses.replace(DATASET, recipe=2), tmp_path)
