"""Archives that stand for more bytes than there is room are refused before they fill it."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from data_scripts import unpacking
from data_scripts.fetch import fetch, read_member
from data_scripts.manifest import DataError, Source
from data_scripts.speech_files import read_archive


@pytest.fixture(autouse=True)
def small_limits(monkeypatch):
    monkeypatch.setattr(unpacking, "MAX_MEMBER", 1000)
    monkeypatch.setattr(unpacking, "MAX_ARCHIVE", 2500)


def tar(path: Path, *sizes: int) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for number, size in enumerate(sizes):
            member = tarfile.TarInfo(f"top/{number}")
            member.size = size
            archive.addfile(member, io.BytesIO(b"\0" * size))
    return path


def test_a_gzip_is_stopped_while_it_streams(tmp_path):
    packed = tmp_path / "a.gz"
    with gzip.open(packed, "wb") as stream:
        stream.write(b"\0" * 10_000_000)
    with pytest.raises(DataError, match="holds more than 2000000 bytes"):
        unpacking.unpack_gzip(packed, tmp_path / "a", limit=2_000_000)
    assert (tmp_path / "a").stat().st_size <= 2_000_000
    unpacking.unpack_gzip(packed, tmp_path / "a", limit=10_000_000)
    assert (tmp_path / "a").stat().st_size == 10_000_000


@pytest.mark.parametrize("cut", [0, 5, 9000])
def test_a_damaged_gzip(tmp_path, cut):
    packed = tmp_path / "a.gz"
    packed.write_bytes(gzip.compress(bytes(range(256)) * 100)[: cut or None][::-1])
    with pytest.raises(DataError, match="not a whole gzip file"):
        unpacking.unpack_gzip(packed, tmp_path / "a")


@pytest.mark.parametrize("sizes", [(1001,), (900, 900, 900)])
def test_a_tar_that_is_too_large(tmp_path, sizes):
    path = tar(tmp_path / "a.tar.gz", *sizes)
    with pytest.raises(DataError, match="larger than an archive may be"):
        read_archive(path, lambda name: True)
    with pytest.raises(DataError, match="larger than an archive may be"):
        read_member(path, "top/none", "0" * 64)


def test_a_tar_within_limits(tmp_path):
    path = tar(tmp_path / "a.tar.gz", 900, 900)
    assert {name: len(x) for name, x in read_archive(path, lambda n: True).items()} == {
        "0": 900,
        "1": 900,
    }


def test_a_zip_whose_member_is_too_large(tmp_path):
    path = tmp_path / "a.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", b"\0" * 1001)
    with pytest.raises(DataError, match="a is larger than 1000 bytes"):
        read_member(path, "a", "0" * 64)


def test_a_packed_mirror_that_is_none(tmp_path):
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    (mirror / "a.csv.gz").write_bytes(b"no gzip")
    source = Source("a.csv", "0" * 64, mirror=("a.csv",))
    with pytest.raises(DataError, match="not a whole gzip file"):
        fetch(source, tmp_path / "raw", mirror)
