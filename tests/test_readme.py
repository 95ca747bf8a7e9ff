"""The code in README and docs runs, and its commands name keys and choices that exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra import compose, initialize_config_dir

from apps import CONF
from apps.cli.command import named_app, search_path
from apps.cli.help import VERBS_ON_RUNS, all_apps
from apps.grid.overrides import first_point
from tests.conftest import succeed

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
DOCUMENTS = [README, *sorted((ROOT / "docs").rglob("*.md"))]
CHOOSE = ROOT / "docs" / "guides" / "choose.md"


def blocks(language: str) -> list[Any]:
    return [
        pytest.param(code, id=f"{path.stem}-{number}")
        for path in DOCUMENTS
        for number, code in enumerate(
            re.findall(rf"```{language}\n(.*?)```", path.read_text(), re.S)
        )
    ]


def commands() -> list[Any]:
    """Those of README and docs, and of the job files."""
    (azure, slurm) = (ROOT / "docs" / "jobs" / name for name in ("azureml.yml", "compare.slurm"))
    lines = yaml.safe_load(azure.read_text())["command"].replace("&& ", "\n")
    jobs = [lines.replace("${{outputs.report}}", "report"), slurm.read_text().replace("\\\n", "")]
    code = "\n".join([*(block.values[0] for block in blocks("bash")), *jobs])
    return [line for line in code.splitlines() if line.startswith("gradclip-")]


@pytest.mark.parametrize("code", blocks("python"))
def test_python_runs(code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, Any] = {}
    exec(compile(code, "document", "exec"), namespace)
    assert namespace


@pytest.mark.parametrize("command", commands())
def test_commands_compose(command: str) -> None:
    script, *overrides = shlex.split(command, comments=True)
    if "--help" in overrides:
        return
    verb = script.removeprefix("gradclip-")
    if verb == "compare":
        overrides = first_point(overrides)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        app = named_app(overrides)
        if verb in VERBS_ON_RUNS:
            given, rooms = overrides, all_apps()
        else:
            others = [item for item in overrides if not item.startswith("app=")]
            given, rooms = [f"app={app}", *others], [app]
        config = compose(verb, [*given, search_path(*rooms)])
    assert config


def test_the_readme_can_be_read_in_five_minutes() -> None:
    text = README.read_text()
    assert len(text.splitlines()) < 150
    assert len(text.split()) <= 1100


def test_the_readme_says_how_many_strategies_there_are() -> None:
    (number,) = re.findall(r"All \[(\d+) strategies\]", README.read_text())
    assert int(number) == len(list((CONF / "clipping").glob("*.yaml")))


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(([^)]+)\)", README.read_text()))))
def test_links_of_the_readme_lead_somewhere(target: str) -> None:
    if target.startswith("https://"):
        return
    path, _, anchor = target.partition("#")
    assert (ROOT / path).is_file()
    titles = re.findall(r"^#+ (.*)$", (ROOT / path).read_text(), re.M) if anchor else []
    assert not anchor or anchor in {title.lower().replace(" ", "-") for title in titles}


def test_make_targets_exist() -> None:
    named = set(re.findall(r"^make ([a-z-]+)", "\n".join(p.read_text() for p in DOCUMENTS), re.M))
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    assert named
    assert named <= targets


@pytest.mark.slow  # half a minute, and the data of the energy application
def test_the_advice_in_the_guide_is_what_is_printed(tmp_path: Path) -> None:
    out = succeed("advise", "app=energy", "model=lstm", f"output_dir={tmp_path / 'advice'}")
    (shown,) = re.findall(r"```text\n(200 steps.*?)```", CHOOSE.read_text(), re.S)
    assert _without_digits(shown) in _without_digits(out)


def _without_digits(text: str) -> str:
    """The words of a text: the last digits of 200 steps are another processor's own."""
    return " ".join(re.sub(r"[-+.\d%]+", " ", text).split())
