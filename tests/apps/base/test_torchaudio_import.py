"""torchaudio with its native extension, without it, and with that of another CUDA."""

from __future__ import annotations

import subprocess
import sys

import pytest

# The native part is taken out where it does not load (Makefile): it looks as if it were there.
SCRIPT = """
import pathlib, sys, types, unittest.mock, torch
glob = pathlib.Path.glob
def found(self, pattern):
    if "torchaudio" in pattern:
        return [self / pattern.replace("*", ".abi3")]
    return glob(self, pattern)
pathlib.Path.glob = found
{before}
from apps.base.torchaudio_import import import_torchaudio
torchaudio = import_torchaudio()
assert import_torchaudio() is torchaudio is sys.modules["torchaudio"]
import torchaudio.transforms
print(torchaudio._extension._IS_TORCHAUDIO_EXT_AVAILABLE, loaded)
print(tuple(torchaudio.transforms.MelSpectrogram(8000, n_fft=512)(torch.zeros(8000)).shape))
"""
MISSING = """
loaded = []
def load(path):
    loaded.append("asked")
    raise OSError("libcudart.so.13: cannot open shared object file")
torch.ops.load_library = load
"""
# What torchaudio asks of its library once it is loaded.
PRESENT = """
loaded = []
torch.ops.load_library = lambda path: loaded.append(path.name)
native = types.SimpleNamespace(cuda_version=lambda: {version}, is_align_available=lambda: True)
torch.ops.__dict__["_torchaudio"] = native
torch.ops.__dict__["torchaudio"] = unittest.mock.MagicMock()
torch.version.cuda = "13.0"
"""


@pytest.mark.parametrize(
    ("before", "available", "asked"),
    [
        (MISSING, "False", ["asked"]),
        (PRESENT.format(version=13000), "True", ["_torchaudio.abi3.so", "libtorchaudio.abi3.so"]),
        (PRESENT.format(version=12060), "True", ["_torchaudio.abi3.so", "libtorchaudio.abi3.so"]),
    ],
    ids=["no library", "library", "library of another CUDA"],
)
@pytest.mark.skipif(sys.platform != "linux", reason="names of Linux libraries")
def test_imports_with_and_without_the_extension(before, available, asked):
    code = SCRIPT.format(before=before)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert first.startswith(available)
    assert [name in first for name in asked] == [True] * len(asked), first
    assert second == "(128, 32)" or second.startswith("(128, ")


NATIVE = """
import torch
from apps.base.torchaudio_import import import_torchaudio
torchaudio = import_torchaudio()
print(torchaudio._extension._IS_TORCHAUDIO_EXT_AVAILABLE)
if torchaudio._extension._IS_TORCHAUDIO_EXT_AVAILABLE:
    scores = torch.full((1, 6, 3), -5.0)
    for time, output in enumerate((0, 1, 1, 0, 2, 0)):
        scores[0, time, output] = -0.1
    path, _ = torchaudio.functional.forced_align(scores, torch.tensor([[1, 2]]))
    print(path.tolist())
"""


def test_the_extension_itself_runs_where_it_loads():
    """The wheel from PyPI loads beside PyPI's torch for Linux, which is built for CUDA."""
    done = subprocess.run([sys.executable, "-c", NATIVE], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    available, *path = done.stdout.splitlines()
    if available == "False":
        pytest.skip("torchaudio's native library does not load with this torch (built for CUDA)")
    assert path == ["[[0, 1, 1, 0, 2, 0]]"]
