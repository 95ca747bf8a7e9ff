"""Building the kernel: once, by anybody at once, and never at the cost of a user's run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

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


def compiler(folder: Path, script: str) -> str:
    """A compiler that does this."""
    path = folder / "strange-cc"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


def test_it_can_be_turned_off() -> None:
    assert finished(started(GRADCLIP_NATIVE="0")) == "False 10.0"


@compiled
def test_it_is_compiled_once(fresh_cache: Path) -> None:
    path = build.compiled()
    assert path is not None
    assert path.parent == fresh_cache
    written = path.stat().st_mtime_ns
    assert build.compiled() == path
    assert path.stat().st_mtime_ns == written
    assert list(fresh_cache.iterdir()) == [path]


@compiled
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


@pytest.mark.parametrize("home", ["/proc/nowhere", "/dev/null"])
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
