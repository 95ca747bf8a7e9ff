"""Launchers: what they lack or refuse is said in one line, and two comparisons do not meet."""

from __future__ import annotations

import sys

from tests.conftest import refused


def test_a_missing_engine_is_named_with_its_remedy(tiny, monkeypatch, empty_folder):
    for launcher, package in (("slurm", "submitit"), ("ray", "ray")):
        monkeypatch.setitem(sys.modules, package, None)
        line = refused("compare", *tiny, f"launcher={launcher}")
        assert f"launcher={launcher}: needs {package}; pip install {package}" in line


def test_wrong_values_of_a_launcher_are_refused(tiny, empty_folder):
    line = refused("compare", *tiny, "launcher=nonsense")
    assert "launcher=nonsense: unknown; known: local, ray, slurm" in line
    line = refused("compare", *tiny, "launcher=slurm", "launcher.cluster=moon")
    assert "launcher.cluster=moon: allowed: slurm, local" in line
    line = refused("compare", *tiny, "launcher=ray", "launcher.address=127.0.0.1:1,2")
    assert "takes one value" in line
    for address in ("127.0.0.1:1", "nowhere.invalid:6379", "127.0.0.1:99999"):
        line = refused("compare", *tiny, "launcher=ray", f"launcher.address='{address}'")
        assert line.startswith(f"gradclip-compare: launcher.address={address}: ")
        assert "; is a Ray cluster there?" in line


def test_two_comparisons_in_one_folder_do_not_meet(tiny, tmp_path, monkeypatch):
    from apps.run.locking import alone

    monkeypatch.chdir(tmp_path)
    with alone(tmp_path / "report", "output_dir"):
        line = refused("compare", *tiny, "output_dir=report")
    assert "output_dir=report: another process is at work in it" in line
