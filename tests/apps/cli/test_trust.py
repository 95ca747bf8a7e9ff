"""A stranger's run: what its folder names is neither imported nor called."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from apps.cli.trust import read_trust
from apps.errors import UserError
from apps.run.folder import RunFolder
from tests.apps.run.test_resume import Killed, interrupted
from tests.apps.runs import assert_same_run
from tests.conftest import refused, succeed

# What would leave a mark if it were imported, or called.
MODULE = """
from pathlib import Path
from gradclip_core import ClipNorm
Path({mark!r}).touch()
class Mine(ClipNorm):
    pass
"""
KEYS = (
    "app._target_",
    "app.features._target_",
    "data._target_",
    "model._target_",
    "model.cell._target_",
    "clipping._target_",
    "clipping.max_norm._target_",
    "clipping.extra._target_",
    "optimizer._target_",
    "optimizer.eps._target_",
    "optimization._target_",
    "callbacks.averaging._target_",
    "callbacks.another._target_",
    "trainer._target_",
    "trainer.strategy._target_",
    "trainer.plugins._target_",
    "logger._target_",
    "decoder._target_",
    "unheard.of._target_",
    "_target_",
)
# Names that resolve to what runs code, or that reach it through a module of ours.
NAMES: tuple[Any, ...] = (
    "stranger.Mine",
    "os.system",
    "builtins.dict",
    "builtins.eval",
    "hydra.utils.call",
    "apps.run.folder.shutil.rmtree",
    "apps.energy.application.Energy.__init__.__globals__",
    "gradclip_core.clipper.Clipper",
    "gradclip_core.advice.advisor.os.system",
    "torch.hub.load",
    "torch.load",
    "torch.optim.lr_scheduler.LambdaLR",
    "lightning.pytorch.callbacks.ModelCheckpoint",
    "apps.run.stress.torch.load",
    "",
    5,
    None,
    ["os.system"],
    {"_target_": "os.system"},
)
VERBS = (("evaluate", "run"), ("predict", "run"), ("train", "resume"))


@pytest.fixture(autouse=True)
def here(empty_folder: Path) -> Path:
    return empty_folder


@pytest.fixture
def mark(tmp_path_factory, monkeypatch) -> Path:
    """A file that appears when the module `stranger` is imported."""
    place = tmp_path_factory.mktemp("stranger")
    (place / "stranger.py").write_text(MODULE.format(mark=str(place / "mark")))
    monkeypatch.syspath_prepend(place)
    monkeypatch.delitem(__import__("sys").modules, "stranger", raising=False)
    return place / "mark"


@pytest.fixture
def run(here: Path, trained: Path) -> Path:
    """A copy of a run that was cut short, to be spoilt."""
    run = Path(shutil.copytree(trained, here / "run"))
    (run / "metrics.json").unlink()
    return run


def name(run: Path, key: str, name: Any) -> None:
    """Write a name into a run's configuration."""
    config = OmegaConf.load(run / "config.yaml")
    OmegaConf.update(config, key, name, force_add=True)
    (run / "config.yaml").write_text(OmegaConf.to_yaml(config))


def arguments(verb: str, key: str, run: Path, load_csv: Path) -> list[str]:
    more = [f"input={load_csv}", "output=out.csv"] if verb == "predict" else []
    return [f"{key}={run}", *more]


@pytest.mark.parametrize("place", KEYS)
def test_no_key_of_a_folder_runs_code(run, mark, place):
    name(run, place, "stranger.Mine")
    with pytest.raises(UserError, match="add trust=stranger") as caught:
        RunFolder.open(run).config()
    assert f"{place}=stranger.Mine: is not of gradclip, and would run code" in str(caught.value)
    assert not mark.exists()


@pytest.mark.parametrize(
    "place", ["app.features._target_", "clipping._target_", "of.none._target_"]
)
@pytest.mark.parametrize(("verb", "key"), VERBS)
def test_no_verb_runs_the_code_of_a_folder(run, mark, load_csv, verb, key, place):
    name(run, place, "stranger.Mine")
    line = refused(verb, *arguments(verb, key, run, load_csv))
    assert f"{place}=stranger.Mine: is not of gradclip, and would run code" in line
    assert not mark.exists()


@pytest.mark.parametrize("wrong", NAMES, ids=str)
@pytest.mark.parametrize("place", ["clipping._target_", "callbacks.averaging._target_"])
def test_no_name_in_a_folder_runs_code(run, mark, place, wrong):
    name(run, place, wrong)
    with pytest.raises(UserError, match=f"{place}|not a configuration"):
        RunFolder.open(run).config()
    assert not mark.exists()


def test_a_list_hides_nothing(run, mark):
    name(run, "clipping.clippers", [1, [{"deep": {"_target_": "stranger.Mine"}}]])
    with pytest.raises(UserError, match=r"clipping.clippers.1.0.deep._target_=stranger.Mine"):
        RunFolder.open(run).config()
    assert not mark.exists()


@pytest.mark.parametrize("trust", ["strange", "stranger.Other", "stranger_too", "str", "os"])
def test_trust_in_another_does_not_help(run, mark, trust):
    name(run, "clipping._target_", "stranger.Mine")
    with pytest.raises(UserError, match="would run code"):
        RunFolder.open(run).config([trust])
    assert not mark.exists()


def test_a_folder_cannot_trust_itself(run, mark):
    name(run, "clipping._target_", "stranger.Mine")
    name(run, "trust", ["stranger"])
    assert "would run code" in refused("train", f"resume={run}")
    assert not mark.exists()


@pytest.mark.parametrize("text", ["${oc.env:HOME}", "${seed}", "a${oc.decode:1}", "${nowhere:1}"])
def test_a_folder_reads_no_environment(run, text):
    name(run, "data.path", text)
    with pytest.raises(UserError, match="a run's configuration holds no references"):
        RunFolder.open(run)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: &a [1]\nb: [*a, *a]\n", "refers to *a"),
        ("[" * 1000 + "]" * 1000, "nested more than 50 deep"),
        ("a: " + "x" * 1_000_001, "larger than 1000000 bytes"),
        ("a: " + "9" * 5000, "not a configuration"),
        ("a: !!python/object/apply:os.system [ls]", "not a configuration"),
    ],
)
def test_a_file_that_is_to_fill_the_memory(run, text, expected):
    (run / "config.yaml").write_text(text)
    assert expected in refused("evaluate", f"run={run}")


@pytest.mark.parametrize(
    "trust", ["stranger.Mine", pytest.param("[torch,stranger]", marks=pytest.mark.slow)]
)
def test_a_class_of_ones_own_is_trusted_by_name(monkeypatch, mark, tiny, load_csv, here, trust):
    own = [*tiny, "clipping._target_=stranger.Mine", "training.epochs=4"]
    succeed("train", *own, "run_dir=whole")
    interrupted(monkeypatch, 5, Killed, *own, "run_dir=cut")
    assert "add trust=stranger" in refused("train", "resume=cut")
    succeed("train", "resume=cut", f"trust={trust}")
    assert_same_run(here / "cut", here / "whole")
    assert "MAPE" in succeed("evaluate", "run=cut", "baselines=false", f"trust={trust}")
    assert mark.exists()


def test_trust_without_a_folder_has_no_use(tiny):
    assert "trust: serves resume alone" in refused("train", *tiny, "trust=stranger")
    assert "trust=stranger: the comparison sets it" in refused("compare", *tiny, "trust=stranger")


@pytest.mark.parametrize("value", [5, True, "", "a b", "a.", [5], {"a": 1}, [[]]])
def test_no_name_to_trust(value):
    with pytest.raises(UserError, match="must be the name of a package or class"):
        read_trust(value)
