"""The command line itself: help, errors of spelling, and every mistake in one line."""

from __future__ import annotations

import inspect
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import apps.cli.command
import apps.cli.help
from apps import CONF
from gradclip_core import ClipNorm
from tests.conftest import refused, run_verb, succeed

VERBS = ("data", "train", "evaluate", "compare", "predict", "advise")


pytestmark = pytest.mark.usefixtures("empty_folder")


@pytest.mark.parametrize("verb", VERBS)
def test_help_explains_the_verb_and_lists_its_keys(verb):
    text = succeed(verb, "--help")
    assert f"usage: gradclip-{verb}" in text
    assert f"gradclip-{verb} " in text.split("usage:")[0], "no example"
    for key in [line.split(":")[0] for line in _own_lines(verb)]:
        assert f"  {key}=" in text


def _own_lines(verb: str) -> list[str]:
    lines = (CONF / f"{verb}.yaml").read_text().splitlines()
    return [line for line in lines if line[:1].islower() and "#" in line]


@pytest.mark.parametrize("verb", ["train", "compare"])
def test_help_lists_every_choice_of_every_group(verb):
    text = succeed(verb, "--help")
    for path in [*CONF.glob("*/*.yaml"), *CONF.glob("energy/*/*.yaml")]:
        if path.parent.name not in ("launcher", "sweep") or verb == "compare":
            assert f"{path.parent.name}=" in text
            assert f" {path.stem} " in text


def test_help_of_data_lists_its_choices_alone():
    text = succeed("data", "--help")
    assert "elecdemand" in text
    assert "optimizer=" not in text


@pytest.mark.parametrize("verb", ["evaluate", "predict"])
def test_help_of_verbs_on_a_run_lists_what_they_choose_anew(verb):
    text = succeed(verb, "--help", "decoder=beam")
    assert "beam_size:" in text
    choices = text.partition("choices:")[2].partition("keys")[0]
    assert "decoder=" in choices
    assert "greedy" in choices
    assert "=" not in choices.replace("decoder=", "")
    assert "decoder=nonsense: unknown; known: beam, greedy" in refused(verb, "decoder=nonsense")


def test_help_of_advise_lists_what_it_takes_and_no_clipping():
    text = succeed("advise", "--help")
    assert "optimizer=" in text
    assert "model=" in text
    for group in ("clipping", "launcher", "logger", "sweep"):
        assert f"\n  {group}=" not in text
    assert "clipping: no such choice here; see --help" in refused("advise", "clipping=none")


def test_help_with_a_choice_shows_all_its_keys():
    shown = succeed("train", "--help", "clipping=agc").split("# clipping=agc\n")[1]
    lines = (CONF / "clipping" / "agc.yaml").read_text().splitlines()
    assert set(lines) - set(shown.splitlines()) == {"defaults: [base/norm@_here_, _self_]"}
    keys = [line.partition(":")[0] for line in shown.splitlines() if line[:1] not in ("", " ", "#")]
    assert sorted(keys) == sorted({"_target_", *inspect.signature(ClipNorm).parameters})
    assert "nonfinite: skip  # NaN and inf" in shown


def test_help_imports_neither_torch_nor_lightning():
    code = (
        "import sys, apps.train, apps.compare, apps.evaluate, apps.predict, apps.data\n"
        "import apps.advise\n"
        "sys.argv = ['gradclip-train', '--help']\n"
        "apps.train.main()\n"
        "print('heavy:', sorted({'torch', 'lightning', 'pandas', 'hydra'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("heavy: []\n")


@pytest.mark.parametrize("verb", ["data", pytest.param("compare", marks=pytest.mark.slow)])
def test_console_script_and_module_agree(verb):
    script = Path(sys.executable).with_name(f"gradclip-{verb}")
    by_script = subprocess.run([script, "-h"], capture_output=True, text=True, check=True)
    module = [sys.executable, "-m", f"apps.{verb}", "-h"]
    by_module = subprocess.run(module, capture_output=True, text=True, check=True, cwd=CONF.parent)
    assert by_script.stdout == by_module.stdout != ""


@pytest.mark.parametrize("package", ["hydra", "lightning"])
def test_a_package_that_is_not_installed_is_one_line(package):
    code = (
        f"import sys; sys.modules[{package!r}] = None\n"
        "import apps.train\n"
        "sys.argv = ['gradclip-train', 'clipping=none', 'run_dir=run']\n"
        "apps.train.main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"gradclip-train: needs the package {package}, which is not installed; in the folder of "
        "the clone: pip install --constraint constraints.txt --editable . --editable ./apps\n"
    )


@pytest.mark.parametrize("verb", ["train", "evaluate"])
def test_a_mistake_is_one_line_in_a_process_of_its_own(verb):
    command = [sys.executable, "-m", f"apps.{verb}", "nonsense=1"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=CONF.parent)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith(f"gradclip-{verb}: nonsense: no such key here; known: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("group", "known"),
    [
        ("clipping", "adagc, adamw_clip, agc, aggc, autoclip, block_rms"),
        ("optimizer", "adagrad, adam, adamw"),
        ("trainer", "cpu, ddp, ddp_cpu, debug, fsdp, gpu"),
        ("model", "gru, lstm, mlp, ridge_residual, rnn"),
        ("data", "csv, elecdemand"),
        ("logger", "csv, mlflow, none, tensorboard"),
        ("app", "energy"),
    ],
)
def test_unknown_choice_lists_the_known(group, known):
    line = refused("train", f"{group}=nonsense")
    assert f"{group}=nonsense: unknown" in line
    assert known in line


def test_unknown_strategy_or_sweep_in_a_comparison_lists_the_known(tiny):
    line = refused("compare", *tiny, "clipping=[none,nonsense]")
    assert "clipping=nonsense: unknown; known: " in line
    assert "adagc, adamw_clip, agc, aggc, autoclip, block_rms" in line
    assert "sweep=nonsense: unknown; known: sgd" in refused("compare", *tiny, "sweep=nonsense")


def test_unknown_application_is_refused_by_every_verb():
    for verb in VERBS:
        assert "app=nonsense: unknown application; known: driving" in refused(verb, "app=nonsense")


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("sed=1", "sed: no such key here; did you mean seed?"),
        ("clipping=zclip clipping.max_norm.z=3", "no such key here; it is called deviations now"),
        ("optimizer.learning=1", "optimizer.learning: no such key here; known: "),
        ("clipping.maxnorm=1", "clipping.maxnorm: no such key here; did you mean max_norm?"),
        ("optimizer=sgd,adam", "Ambiguous value for argument 'optimizer=sgd,adam'"),
        ("seed=[1", "seed=[1: cannot be read as KEY=VALUE"),
        ("seed", "seed: cannot be read as KEY=VALUE"),
        ("--seed=1", "--seed=1: no such option; settings are KEY=VALUE"),
        ("experiment=nonsense", "experiment"),
    ],
)
def test_misspelt_overrides(override, expected):
    assert expected in refused("train", *override.split())


def test_own_flags_of_hydra_still_work():
    assert "max_norm: 1.0" in succeed("train", "--cfg", "job")


def test_an_interrupt_is_told_and_has_its_exit_code(monkeypatch):
    def interrupted(config: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("apps.data.run", interrupted)
    ended = run_verb("data")
    assert (ended.code, ended.err) == (130, "gradclip-data: interrupted\n")


def test_configuration_is_found_in_a_folder_with_an_awkward_name(monkeypatch, tmp_path):
    conf = tmp_path / "it's, [a] 100% = b"
    shutil.copytree(CONF, conf)
    monkeypatch.setattr(apps.cli.command, "CONF", conf)
    monkeypatch.setattr(apps.cli.help, "CONF", conf)
    assert "column to forecast" not in succeed("train", "--cfg", "job", "data=csv")
    assert f"file://{conf}" in succeed("train", "--info", "searchpath")


def test_a_warning_of_the_core_is_one_line(tiny, tmp_path):
    ended = run_verb("train", *tiny, "clipping.max_norm=inf", f"run_dir={tmp_path / 'run'}")
    assert ended.code == 0
    assert ended.err == (
        "gradclip-train: warning: ClipNorm never clips, since its threshold is inf; NoClip "
        "measures without clipping\n"
    )


def test_processes_that_a_training_starts_are_given_what_was_typed(monkeypatch):
    # Lightning starts them with sys.argv, to which settings of our own were added meanwhile.
    seen = []
    typed = ["gradclip-train", "seed=3", "app=energy"]
    monkeypatch.setattr(sys, "argv", list(typed))
    apps.cli.command.command("train", lambda _: seen.extend(sys.argv))
    assert seen == typed
