from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from data_scripts.manifest import (
    MANIFEST,
    DataError,
    Dataset,
    Manifest,
    Source,
    sha256,
    verify,
)


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    (tmp_path / "data.bin").write_bytes(b"abc")
    source = Source("raw.bin", "0" * 64, ("energy/raw.bin",), ("https://example.org/raw.bin",))
    dataset = Dataset("toy", "energy", (source,), "CC0", "nobody")
    # SHA-256 of "abc": the example of FIPS 180-2, appendix B.1.
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    files, splits = {"data.bin": digest}, {"end": "2014-01-01"}
    return Manifest(dataset, files, 1, {"x": "GW"}, splits, {"target": "x"})


def test_sha256_of_a_file_agrees_with_the_published_example(tmp_path, manifest):
    assert sha256(tmp_path / "data.bin") == manifest.files["data.bin"]


def test_manifest_survives_a_round_trip(tmp_path, manifest):
    manifest.write(tmp_path)
    assert verify(tmp_path) == manifest


def test_a_changed_file_is_named_with_both_hashes(tmp_path, manifest):
    manifest.write(tmp_path)
    (tmp_path / "data.bin").write_bytes(b"abd")
    with pytest.raises(DataError) as caught:
        verify(tmp_path)
    found = hashlib.sha256(b"abd").hexdigest()
    for part in ("data.bin", found, manifest.files["data.bin"]):
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_or_manifest_is_a_data_error(tmp_path, manifest):
    with pytest.raises(DataError, match="no such file"):
        verify(tmp_path)
    manifest.write(tmp_path)
    (tmp_path / "data.bin").unlink()
    with pytest.raises(DataError, match=r"data\.bin: No such file"):
        verify(tmp_path)


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", json.dumps({"dataset": {"sources": 1}})])
def test_a_damaged_manifest_is_a_data_error(tmp_path, content):
    (tmp_path / MANIFEST).write_text(content)
    with pytest.raises(DataError, match="not a data manifest"):
        Manifest.read(tmp_path)
