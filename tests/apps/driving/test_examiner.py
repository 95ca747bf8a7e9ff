"""highway-env as the examiner of a driver, and what is said where it cannot be."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from apps.driving.drivers import BASELINES
from apps.driving.examiner import examine
from apps.driving.scenarios import Highway
from apps.errors import UserError
from tests.apps.driving.test_verbs import train
from tests.conftest import refused, succeed

HIGHWAY = Highway(vehicles=8, seconds=6)


def test_drives_there_are_drives_here() -> None:
    pytest.importorskip("highway_env", reason="highway-env is not installed")
    for name in ("random", "tracker_idm"):
        theirs, ours = examine(HIGHWAY, BASELINES[name], episodes=3)
        assert list(theirs["scenario"]) == [0, 1, 2]
        assert list(theirs["actions"]) == list(ours["actions"])
        assert list(theirs["collided"]) == list(ours["collided"])
        # Up to a crash both are within a millimetre; the frames after it are driven there alone.
        whole = ~theirs["collided"]
        np.testing.assert_allclose(theirs["distance"][whole], ours["distance"][whole], atol=1e-3)
        assert (theirs["distance"] > 10).all()


def test_without_the_package_it_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "highway_env", None)
    with pytest.raises(UserError, match=r"not installed: pip install highway-env==1\.12\.1"):
        examine(HIGHWAY, BASELINES["random"])


def test_the_verb(empty_folder: Path) -> None:
    pytest.importorskip("highway_env", reason="highway-env is not installed")
    run = train(empty_folder / "run", "training.epochs=1", "data.seconds=1", "data.vehicles=2")
    out = succeed("evaluate", f"run={run}", "test_split=test_sim", "baselines=false")
    assert "network, highway-env" in out
    assert "network, same in the port" in out
    assert "tracker_idm" not in out
    allowed = "test_split=val: app=driving has no such split; allowed: test, test_sim"
    assert allowed in refused("evaluate", f"run={run}", "test_split=val")


def test_other_applications_have_the_test_alone(trained: Path, empty_folder: Path) -> None:
    said = refused("evaluate", f"run={trained}", "test_split=test_sim")
    assert "test_split=test_sim: app=energy has no such split; allowed: test" in said
