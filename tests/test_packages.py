"""The wheel and the sdist, installed and used outside the tree as a stranger would."""

from __future__ import annotations

import re
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from collections.abc import Callable
from email import message_from_bytes
from email.message import Message
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
Python = Callable[..., subprocess.CompletedProcess[str]]

SCRIPT = """
import torch, gradclip_core
model = torch.nn.Linear(8, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
clipper = gradclip_core.ClipNorm(1e-3)
for _ in range(3):
    optimizer.zero_grad()
    model(torch.ones(4, 8)).square().mean().backward()
    report = clipper(model.named_parameters())
    optimizer.step()
print(gradclip_core.__file__)
print(report.clipped.item(), f"{report.clipped_norm.item():.4f}", clipper.steps.item())
"""


def build(tree: Path, *targets: str, into: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", *targets, "-d", str(into)]
    subprocess.run(command, cwd=tree, check=True, capture_output=True)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the sdist."""
    folder = tmp_path_factory.mktemp("dist")
    build(ROOT, "-t", "sdist", "-t", "wheel", into=folder)
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> zipfile.ZipFile:
    return zipfile.ZipFile(next(built.glob("gradclip-*.whl")))


def test_the_page_on_pypi_has_no_path_within_the_repository(wheel: zipfile.ZipFile) -> None:
    (name,) = [name for name in wheel.namelist() if name.endswith("METADATA")]
    text = wheel.read(name).decode()
    assert "# gradclip" in text
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert len(links) > 20
    assert not [link for link in links if not link.startswith("https://")]


@pytest.fixture(scope="module")
def python(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Python:
    """Run the Python of an environment with the wheel and torch, in an empty folder.

    torch and pytest come from the environment of the tests, whose editable installations are not
    seen: Python does not follow the .pth files of a folder that a .pth file names.
    """
    folder = tmp_path_factory.mktemp("bare")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True)
    script = folder / "venv" / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    vars_ = {"base": str(folder / "venv"), "platbase": str(folder / "venv")}
    packages = Path(sysconfig.get_path("purelib", vars=vars_))
    (packages / "torch.pth").write_text(sysconfig.get_path("purelib") + "\n")
    (wheel,) = built.glob("gradclip-*.whl")
    pip = [sys.executable, "-m", "pip", "--quiet", "--python", str(script)]
    subprocess.run([*pip, "install", "--no-deps", "--no-index", str(wheel)], check=True)
    away = folder / "away"
    away.mkdir()

    def python(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([script, *arguments], cwd=away, capture_output=True, text=True)

    return python


def metadata(wheel: zipfile.ZipFile) -> Message:
    (name,) = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
    return message_from_bytes(wheel.read(name))


def test_the_wheel_holds_the_library_alone_with_the_source_of_its_kernels(
    wheel: zipfile.ZipFile,
) -> None:
    tops = {name.partition("/")[0] for name in wheel.namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"gradclip_core"}
    assert not [name for name in wheel.namelist() if "entry_points" in name]
    tree = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "gradclip_core").rglob("*")
        if path.suffix in (".py", ".c", ".h", ".typed") and path.is_file()
    }
    assert {name for name in wheel.namelist() if ".dist-info" not in name} == tree
    assert "gradclip_core/parts/native/kernel.c" in tree


def test_the_wheel_needs_torch_alone_and_says_where_the_project_lives(
    wheel: zipfile.ZipFile,
) -> None:
    found = metadata(wheel)
    required = [item for item in found.get_all("Requires-Dist") or [] if "extra ==" not in item]
    assert [item.partition(">")[0] for item in required] == ["torch"]
    urls = dict(item.split(", ") for item in found.get_all("Project-URL") or [])
    assert {"Homepage", "Documentation", "Source", "Issues", "Changelog"} <= set(urls)
    assert "# gradclip" in found.get_payload()


def test_the_citation_names_the_version(wheel: zipfile.ZipFile) -> None:
    citation = (ROOT / "CITATION.cff").read_text()
    assert f"\nversion: {metadata(wheel)['Version']}\n" in citation


def test_the_sdist_makes_the_same_wheel(
    built: Path, wheel: zipfile.ZipFile, tmp_path: Path
) -> None:
    (sdist,) = built.glob("gradclip-*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path / "source", filter="data")
    (tree,) = (tmp_path / "source").iterdir()
    build(tree, "-t", "wheel", into=tmp_path / "again")
    (again,) = (tmp_path / "again").glob("*.whl")
    with zipfile.ZipFile(again) as other:
        files = {item.filename: item.CRC for item in other.infolist()}
    assert files == {item.filename: item.CRC for item in wheel.infolist()}


def test_a_script_of_ten_lines_clips_and_reports(python: Python) -> None:
    done = python("-c", SCRIPT)
    assert done.returncode == 0, done.stderr
    place, told = done.stdout.splitlines()
    assert not Path(place).is_relative_to(ROOT)
    assert told == "True 0.0010 3"


@pytest.mark.parametrize("package", ["apps", "data_scripts", "conf"])
def test_nothing_else_is_there(python: Python, package: str) -> None:
    done = python("-c", f"import {package}")
    assert f"No module named '{package}'" in done.stderr


def test_a_wheel_of_the_applications_is_refused_in_a_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT / "apps", capture_output=True, text=True)
    assert done.returncode != 0
    assert "pip install --editable . --editable ./apps" in done.stderr.splitlines()[-1]
    assert not list(tmp_path.iterdir())
