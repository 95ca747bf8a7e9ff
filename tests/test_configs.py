"""Every configuration file: composes, is documented, and does what its name says."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf
from torch import nn

import gradclip_core
from apps import CONF
from apps.cli.command import search_path
from apps.cli.instantiate import instantiate, whole_number
from apps.errors import UserError
from apps.run.folder import RunFolder
from tests.apps.runs import metrics, steps
from tests.attached import attached
from tests.presets import preset, suited

CLIPPING = sorted(path.stem for path in (CONF / "clipping").glob("*.yaml"))
OPTIMIZERS = sorted(path.stem for path in (CONF / "optimizer").glob("*.yaml"))
_LINE = re.compile(r"^\s*(?P<key>[a-z_0-9]+):(?P<rest>.*)$")


APPS = sorted(path.stem for path in (CONF / "app").glob("*.yaml"))


def composed(verb: str, *overrides: str, app: str = "energy") -> DictConfig:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        chosen = [] if app == "energy" else [f"app={app}"]
        return compose(verb, [*chosen, *overrides, search_path(app)])


def options() -> list[tuple[str, Path]]:
    """Every file of every group with an application that offers it.

    The strategies that all applications share are composed by the tests on each of them.
    """
    own = [(app, path) for app in APPS for path in sorted(CONF.glob(f"{app}/*/*.yaml"))]
    shared = sorted(CONF.glob("*/*.yaml"))
    others = [path for path in shared if path.parent.name not in ("app", "clipping")]
    return own + [("energy", path) for path in [*others, CONF / "clipping" / "autoclip.yaml"]]


def _name(value: object) -> str | None:
    return str(value.relative_to(CONF)) if isinstance(value, Path) else None


@pytest.mark.parametrize(("app", "file"), options(), ids=_name)
def test_every_choice_composes(app, file):
    group, choice = file.parent.name, file.stem
    verb = "compare" if group in ("launcher", "sweep") else "train"
    config = composed(verb, f"{group}={choice}", app=app)
    everywhere = "@package _global_" in file.read_text()
    keys = set(OmegaConf.load(file)) - {"defaults"}
    assert keys <= set(config if everywhere else config[group] or {})


@pytest.mark.parametrize("app", APPS)
def test_every_application_composes(app):
    assert composed("train", app=app).app.name == app


@pytest.mark.parametrize("verb", sorted(path.stem for path in CONF.glob("*.yaml")))
def test_every_verb_composes(verb):
    assert composed(verb) is not None


def _files() -> list[Path]:
    return sorted(CONF.rglob("*.yaml"))


@pytest.mark.parametrize("file", _files(), ids=lambda file: str(file.relative_to(CONF)))
def test_every_key_is_documented(file):
    """By a comment beside it, unless the key says where things are or is Hydra's own."""
    text = file.read_text()
    assert text.startswith("#"), "a file begins by saying what it is"
    plain = {"_target_", "_partial_", "name", "dir", "run", "sweep", "subdir", "output_subdir"}
    plain |= {"job", "chdir", "defaults", "hydra", "accelerator", "devices", "max_epochs"}
    plain |= {"enable_progress_bar", "enable_model_summary", "version", "dataset"}
    for line in text.splitlines():
        match = _LINE.match(line)
        if match is None or match["key"] in plain or "#" in match["rest"]:
            continue
        assert _is_a_block(text, line), f"{file.name}: {match['key']} has no comment"


def _is_a_block(text: str, line: str) -> bool:
    """Whether a key opens a mapping, whose own keys are documented one by one."""
    following = text.split(line, 1)[1].lstrip("\n")
    return line.rstrip().endswith(":") and following.startswith(" ")


def test_every_public_strategy_has_a_file():
    texts = [(CONF / "clipping" / f"{name}.yaml").read_text() for name in CLIPPING]
    public = [getattr(gradclip_core, name) for name in gradclip_core.__all__]
    classes = {thing for thing in public if inspect.isclass(thing)}
    bases = {gradclip_core.Clipper, gradclip_core.Threshold}
    bare = {gradclip_core.Advisor, gradclip_core.Fixed, gradclip_core.Rule}
    for thing in classes - bases - bare:
        if issubclass(thing, tuple(bases)):
            wanted = f"_target_: gradclip_core.{thing.__name__}\n"
            assert any(wanted in text for text in texts), f"no file shows {thing.__name__}"


class Recurrent(nn.Module):
    """A small net with a layer of every kind that a strategy may look for."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Linear(3, 4)
        self.memory = nn.LSTM(4, 4)
        self.last = nn.Linear(4, 1)

    def forward(self, x):
        return self.last(self.memory(self.first(x))[0])


@pytest.mark.parametrize("name", CLIPPING)
def test_every_strategy_bounds_a_gradient_in_a_plain_loop(name):
    clipper = instantiate(OmegaConf.create({"clipping": preset(name)}), "clipping")
    net = Recurrent()
    optimizer = attached(clipper, net, lr=0.01)
    for scale in [1.0] * 70 + [1e5]:  # some thresholds look at up to 64 norms first
        optimizer.zero_grad()
        if clipper.needs_samples:
            loss = clipper.backward(lambda x, scale=scale: scale * net(x).sum(), torch.ones(2, 3))
        else:
            loss = (scale * net(torch.ones(2, 3))).sum()
            loss.backward()
        clipper(optimizer if name == "per_group_norm" else net, loss=loss)
        optimizer.step()
    assert bool(clipper.last_report.clipped) == (name != "none")
    assert torch.isfinite(net.first.weight).all()


# One of each kind; the others, which bound gradients in the next test, train in the slow run.
_KINDS = {"none", "autoclip", "spam", "per_sample"}


def _mostly_slow(names: list[str], quick: set[str]) -> list[Any]:
    return [name if name in quick else pytest.param(name, marks=pytest.mark.slow) for name in names]


@pytest.mark.parametrize("name", _mostly_slow(CLIPPING, _KINDS))
def test_every_strategy_trains(train, name):
    run = train(*suited(name), "training.epochs=1")
    assert metrics(run)["clipping"] == name
    assert metrics(run)["status"] == "completed"
    assert len(steps(run)) == 2


@pytest.mark.parametrize("name", _mostly_slow(OPTIMIZERS, {"sgd", "rmsprop"}))
def test_every_optimizer_trains(train, name):
    run = train(f"optimizer={name}", "training.epochs=1", "optimization.schedule=constant")
    config = RunFolder(run).config()
    assert metrics(run)["optimizer"] == name
    assert config.optimizer._target_.rpartition(".")[2].lower() == name
    assert steps(run)["lr"].tolist() == [config.optimizer.lr] * 2
    assert steps(run)["loss"].nunique() == 2, "the weights have moved"


def test_the_optimizers_that_were_promised_are_there():
    promised = {"sgd", "adam", "adamw", "rmsprop", "adagrad", "nadam", "radam"}
    assert promised <= set(OPTIMIZERS)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_is_fused_where_torch_can(name):
    config = OmegaConf.load(CONF / "optimizer" / f"{name}.yaml")
    kind = getattr(torch.optim, config._target_.rpartition(".")[2])
    assert ("fused" in inspect.signature(kind).parameters) == bool(config.get("fused"))


@pytest.mark.slow  # networks have tests of their own
@pytest.mark.parametrize("name", ["gru", "lstm", "mlp", "rnn"])
def test_every_network_trains(train, name):
    run = train(f"model={name}", "training.epochs=1")
    assert metrics(run)["status"] == "completed"


def test_debug_trainer_is_short(train):
    run = train("trainer=debug", "app.samples_per_epoch=320")
    assert metrics(run)["steps"] == 6


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        ({"max_norm": "big"}, ["clipping.max_norm='big'", "valid number", "Threshold"]),
        ({"max_norm": -2}, ["clipping: max_norm must be a number > 0", "-2"]),
        ({"max_norm": 1, "nonfinite": "x"}, ["clipping.nonfinite='x'", "'skip'", "'raise'"]),
        ({"max_norm": 1, "volume": 11}, ["clipping.volume: no such key here; known: max_norm"]),
        ({"max_norm": 1, "min_ndim": "two"}, ["clipping.min_ndim='two'", "valid integer"]),
        ({"max_norm": 1, "by": 3}, ["clipping.by=3", "'model'"]),
        (
            {"max_norm": {"_target_": "gradclip_core.ZScore", "patience": 2}},
            ["clipping.max_norm.patience: no such key here; it is called max_spikes now"],
        ),
        (
            {"max_norm": {"_target_": "gradclip_core.Percentile", "q": 101}},
            ["from 1 to 100", "101"],
        ),
        ({"max_norm": {"_target_": "gradclip_core.Percentil"}}, ["gradclip_core.Percentil"]),
    ],
)
def test_a_wrong_value_names_key_value_and_what_is_allowed(node, expected):
    config = OmegaConf.create({"clipping": {"_target_": "gradclip_core.ClipNorm", **node}})
    with pytest.raises(UserError) as caught:
        instantiate(config, "clipping")
    assert all(part in str(caught.value) for part in expected), str(caught.value)


@dataclass
class Part:
    size: int = 1


class Holder:
    def __init__(self, parts: Mapping[str, Part], other: Part | None = None) -> None:
        self.parts = parts


def test_a_mapping_of_objects_is_no_object_that_lacks_its_class():
    part = {"_target_": f"{__name__}.Part"}
    node = {"_target_": f"{__name__}.Holder", "parts": {"a": part}}
    assert instantiate(OmegaConf.create({"thing": node}), "thing").parts["a"] == Part()
    node["other"] = {"size": 2}
    with pytest.raises(UserError, match=r"^thing\.other=.*describes no object: it has no _target_"):
        instantiate(OmegaConf.create({"thing": node}), "thing")


@pytest.mark.parametrize("node", [None, 5, "text", [1], {"name": "a"}])
def test_a_node_that_describes_nothing(node):
    with pytest.raises(UserError, match="thing: describes no object"):
        instantiate(OmegaConf.create({"thing": node}), "thing")


@pytest.mark.parametrize("value", [1, 7])
def test_whole_number(value):
    assert whole_number(OmegaConf.create({"a": {"b": value}}), "a.b", 1, 7) == value


@pytest.mark.parametrize("value", [0, 8, 1.0, "1", None, True])
def test_no_whole_number(value):
    with pytest.raises(UserError, match=r"a\.b=.*: must be an integer from 1 to 7"):
        whole_number(OmegaConf.create({"a": {"b": value}}), "a.b", 1, 7)
