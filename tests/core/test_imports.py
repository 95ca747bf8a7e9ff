"""The core stands on torch alone."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = "import sys, gradclip_core; print(*sorted({name.split('.')[0] for name in sys.modules}))"


# A build of torch without torch.distributed: the module is there and all but empty.
ALONE = """
import sys, types
stub = types.ModuleType("torch.distributed")
stub.is_available = lambda: False
import torch
for name in [name for name in sys.modules if name.startswith("torch.distributed")]:
    sys.modules[name] = None
sys.modules["torch.distributed"] = torch.distributed = stub
import gradclip_core
weight = torch.nn.Parameter(torch.ones(4))
weight.grad = torch.full((4,), 5.0)
print(gradclip_core.ClipNorm(1.0, eps=0)([weight]).norm.item(), weight.grad.norm().item())
"""


@pytest.fixture(scope="module")
def imported() -> set[str]:
    run = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    return set(run.stdout.split())


def test_the_core_imports_torch(imported: set[str]) -> None:
    assert {"torch", "gradclip_core"} <= imported


@pytest.mark.parametrize("package", ["lightning", "hydra", "omegaconf", "pandas", "apps"])
def test_the_core_imports_nothing_of_the_applications(imported: set[str], package: str) -> None:
    assert package not in imported


def test_the_core_works_without_distributed_torch() -> None:
    run = subprocess.run([sys.executable, "-c", ALONE], capture_output=True, text=True)
    assert run.stdout.split() == ["10.0", "1.0"], run.stderr
