"""Building the kernel: once, by anybody at once, and never at the cost of a user's run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from gradclip_core.parts import native
from gradclip_core.parts.native import build

compiled = pytest.mark.skipif(not native.available(), reason="needs a C compiler")
# A step with and without the kernel gives this.
PROGRAM = """
import torch, gradclip_core
from gradclip_core.parts import native
weight = torch.nn.Parameter(torch.ones(4))
weight.grad = torch.full((4,), 5.0)
print(native.available(), gradclip_core.ClipNorm(1.0)([weight]).norm.item())
"""


def started(**environment: str) -> subprocess.Popen[str]:
    """The program in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finished(process: subprocess.Popen[str]) -> str:
    """What it printed; it has to have ended well, and without a word of its own."""
    out, err = process.communicate(timeout=120)
    assert (process.returncode, err) == (0, "")
    return out.strip()


@pytest.fixture
def fresh_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "gradclip"


@pytest.fixture
def quick_flags(monkeypatch: pytest.MonkeyPatch) -> None:
    """Code that is built in no time, where it is not to be run."""
    monkeypatch.setattr(build, "_FLAGS", ["-O0", *build._FLAGS[1:]])
    monkeypatch.setattr(build, "_CLONES", [])


def compiler(folder: Path, script: str) -> str:
    """A compiler that does this."""
    path = folder / "strange-cc"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


def test_it_can_be_turned_off() -> None:
    assert finished(started(GRADCLIP_NATIVE="0")) == "False 10.0"


@compiled
@pytest.mark.usefixtures("quick_flags")
def test_it_is_compiled_once(fresh_cache: Path) -> None:
    path = build.compiled()
    assert path is not None
    assert path.parent == fresh_cache
    written = path.stat().st_mtime_ns
    assert build.compiled() == path
    assert path.stat().st_mtime_ns == written
    assert list(fresh_cache.iterdir()) == [path]


@compiled
@pytest.mark.slow  # the workers of the tests do so, too, where the home is fresh
def test_two_processes_may_build_it_at_once(fresh_cache: Path) -> None:
    processes = [started() for _ in range(2)]
    assert [finished(process) for process in processes] == ["True 10.0"] * 2
    assert len(list(fresh_cache.iterdir())) == 1


@pytest.mark.parametrize("name", ["no-such-compiler", "false"])
def test_no_compiler_or_a_broken_one_means_no_kernel(
    fresh_cache: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("CC", name)
    assert build.compiled() is None


@pytest.mark.skipif(os.name != "posix", reason="a compiler is a shell script here")
def test_a_compiler_that_crashes_costs_nothing(fresh_cache: Path, tmp_path: Path) -> None:
    crashing = compiler(tmp_path, "kill -SEGV $$")
    assert finished(started(CC=crashing)) == "False 10.0"
    assert not list(fresh_cache.iterdir())


@pytest.mark.skipif(os.name != "posix", reason="a compiler is a shell script here")
@pytest.mark.usefixtures("fresh_cache")
def test_a_compiler_that_writes_rubbish_costs_nothing(tmp_path: Path) -> None:
    rubbish = compiler(
        tmp_path,
        'for last; do :; done; for o in "$@"; do '
        'case "$before" in -o) echo rubbish > "$o";; esac; before="$o"; done',
    )
    assert finished(started(CC=rubbish)) == "False 10.0"


@pytest.mark.parametrize(
    "home", ["/proc/nowhere", pytest.param("/dev/null", marks=pytest.mark.slow)]
)
def test_a_home_that_cannot_be_written_costs_nothing(home: str) -> None:
    assert finished(started(XDG_CACHE_HOME=home, HOME=home)) == "False 10.0"


def test_a_compiler_that_hangs_is_given_up(
    fresh_cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CC", compiler(tmp_path, "exec sleep 60"))
    monkeypatch.setattr(build, "PATIENCE", 0.2)
    assert build.compiled() is None
    assert not list(fresh_cache.iterdir())


@compiled
@pytest.mark.usefixtures("fresh_cache")
def test_a_compiler_without_clones_builds_the_plain_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "_CLONES", "-DCLONES=nonsense(")
    assert build.compiled() is not None


def test_code_is_not_loaded_from_a_folder_that_others_may_write(fresh_cache: Path) -> None:
    fresh_cache.mkdir()
    fresh_cache.chmod(0o777)
    assert build.compiled() is None
    assert not list(fresh_cache.iterdir())


def _cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def _one_byte_changed(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _another_library(path: Path) -> None:
    path.write_bytes(Path(torch._C.__file__).read_bytes())


def _writable_by_others(path: Path) -> None:
    path.chmod(0o666)


def _link(path: Path) -> None:
    moved = path.rename(path.with_name("elsewhere.so"))
    path.symlink_to(moved)


def _of_another_user(path: Path) -> None:
    if os.getuid():
        pytest.skip("needs root, to give a file away")
    os.chown(path, 12345, 12345)


HARM = [_cut, _one_byte_changed, _another_library, _writable_by_others, _link, _of_another_user]


@compiled
@pytest.mark.usefixtures("quick_flags")
@pytest.mark.parametrize("harm", HARM, ids=lambda harm: harm.__name__.strip("_"))
def test_a_file_that_is_not_what_was_written_is_built_anew(
    fresh_cache: Path, harm: Callable[[Path], None]
) -> None:
    path = build.compiled()
    assert path is not None
    content = path.read_bytes()
    harm(path)
    assert build.compiled() == path
    state = path.lstat()
    assert (path.read_bytes(), state.st_uid, state.st_mode) == (content, os.getuid(), 0o100600)


@compiled
@pytest.mark.slow
def test_a_cut_file_does_not_end_the_process(fresh_cache: Path) -> None:
    path = build.compiled()
    assert path is not None
    os.truncate(path, 5000)
    assert finished(started()) == "True 10.0"


@compiled
def test_a_compiler_that_builds_another_library_costs_nothing(
    fresh_cache: Path, tmp_path: Path
) -> None:
    source = tmp_path / "other.c"
    source.write_text("int other(void) { return 1; }")
    real = shutil.which("cc")
    other = compiler(
        tmp_path,
        'for last; do :; done; for o in "$@"; do '
        f'case "$before" in -o) {real} -shared -fPIC {source} -o "$o";; esac; before="$o"; done',
    )
    assert finished(started(CC=other)) == "False 10.0"


@compiled
@pytest.mark.usefixtures("quick_flags")
def test_a_compiler_that_was_replaced_builds_anew(
    fresh_cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CC", compiler(tmp_path, "exit 1"))
    assert build.compiled() is None
    compiler(tmp_path, f'exec {shutil.which("cc")} "$@"')
    assert build.compiled() is not None


@compiled
@pytest.mark.usefixtures("quick_flags")
def test_others_may_not_write_it_whatever_the_umask(fresh_cache: Path) -> None:
    before = os.umask(0)
    try:
        path = build.compiled()
    finally:
        os.umask(before)
    assert path is not None
    assert path.stat().st_mode & 0o777 == 0o600
    assert not fresh_cache.stat().st_mode & 0o022


@compiled
@pytest.mark.usefixtures("quick_flags")
def test_what_a_killed_process_left_is_removed(fresh_cache: Path) -> None:
    left, fresh = fresh_cache / "draft-old", fresh_cache / "draft-new"
    for folder in (left, fresh):
        folder.mkdir(parents=True, mode=0o700)
        (folder / "kernel.so").write_text("half")
    os.utime(left, (0, 0))
    assert build.compiled() is not None
    assert (left.exists(), fresh.exists()) == (False, True)


@compiled
@pytest.mark.usefixtures("quick_flags")
@pytest.mark.parametrize("given", ["cache", "./cache", "../cache", ""])
def test_a_relative_cache_folder_is_passed_over(
    given: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    home, here = tmp_path / "home", tmp_path / "work" / "here"
    home.mkdir()
    here.mkdir(parents=True)
    monkeypatch.chdir(here)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_CACHE_HOME", given)
    path = build.compiled()
    assert path is not None
    assert path.is_relative_to(home / ".cache" / "gradclip")
    assert not list(here.iterdir())
    assert [p.name for p in here.parent.iterdir()] == ["here"]


@compiled
def test_a_relative_home_means_no_kernel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "home")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert build.compiled() is None
    assert not list(tmp_path.iterdir())
