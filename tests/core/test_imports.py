"""The core stands on torch alone."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = "import sys, gradclip_core; print(*sorted({name.split('.')[0] for name in sys.modules}))"


@pytest.fixture(scope="module")
def imported() -> set[str]:
    run = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    return set(run.stdout.split())


def test_the_core_imports_torch(imported: set[str]) -> None:
    assert {"torch", "gradclip_core"} <= imported


@pytest.mark.parametrize("package", ["lightning", "hydra", "omegaconf", "pandas", "apps"])
def test_the_core_imports_nothing_of_the_applications(imported: set[str], package: str) -> None:
    assert package not in imported
