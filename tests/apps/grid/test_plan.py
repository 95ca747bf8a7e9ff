"""Command lines as grids: which runs they stand for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hydra import initialize_config_dir

from apps import CONF
from apps.errors import UserError
from apps.grid.overrides import apps_of, first_point, for_app, read_grid
from apps.grid.plan import Planned, plan, read_tuned

ROOT = Path("runs")


@pytest.fixture(autouse=True)
def _hydra() -> Iterator[None]:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        yield


def planned(*overrides: str, seeds: int = 1, tuned: tuple[str, ...] = ()) -> list[Planned]:
    grid = read_grid(overrides, "global_norm")
    return plan("energy", grid, range(seeds), tuned, ROOT)


def test_the_runs_are_the_product_seed_by_seed():
    found = planned("optimizer=sgd,adam", "optimizer.lr=0.1,1.0", seeds=2)
    assert [(r.config.seed, *r.settings.values(), r.strategy) for r in found] == [
        (seed, optimizer, lr, name)
        for seed in (0, 1)
        for optimizer in ("sgd", "adam")
        for lr in (0.1, 1.0)
        for name in ("none", "global_norm")
    ]
    assert len({run.path for run in found}) == 16
    for run in found:
        assert run.config.choices.optimizer == run.settings["optimizer"]
        assert run.config.optimizer.lr == run.settings["optimizer.lr"]
        assert run.config.choices.clipping == run.strategy


@pytest.mark.parametrize("text", ["0.1,1.0", "choice(0.1,1.0)"])
def test_lists_are_written_in_hydras_ways(text):
    assert [run.config.optimizer.lr for run in planned(f"optimizer.lr={text}")] == [
        0.1,
        0.1,
        1.0,
        1.0,
    ]
    runs = planned("training.epochs=range(1,4)", "clipping=none")
    assert [run.config.training.epochs for run in runs] == [1, 2, 3]


def test_settings_of_one_strategy_make_strategies_of_their_own():
    found = planned("clipping=[global_norm,autoclip,value]", "clipping.max_norm=0.1,1")
    assert [run.strategy for run in found] == [
        "none",
        "global_norm max_norm=0.1",
        "global_norm max_norm=1",
        "autoclip",
        "value",
    ]
    assert [run.config.clipping.max_norm for run in found[1:3]] == [0.1, 1]
    assert [run.settings for run in found[:2]] == [{}, {"clipping.max_norm": 0.1}]


def test_tuned_settings_of_a_strategy_leave_its_name():
    found = planned("clipping.max_norm=0.1,1", tuned=("clipping.max_norm",))
    assert [run.strategy for run in found] == ["none", "global_norm", "global_norm"]
    assert len({run.path for run in found}) == 3


def test_of_several_values_for_a_key_the_last_counts():
    grid = read_grid(["optimizer.lr=1,2", "seeds=3", "app=finance", "optimizer.lr=0.5"], None)
    assert grid.shared == ["optimizer.lr=0.5"]
    assert (grid.axes, grid.strategies) == ({}, ["none"])


def test_names_of_folders_are_safe_and_different():
    runs = planned("data=csv", "data.target=a", "data.path=a/b.csv,a_b.csv", "clipping=none")
    names = [run.path.parent.name for run in runs]
    assert len(set(names)) == 2
    assert all("/" not in name and " " not in name for name in names)


def test_the_command_line_of_hydra_is_the_first_point():
    given = ["app=energy,finance", "optimizer.lr=0.1,1", "seeds=1,2", "clipping=none,value", "-c"]
    assert first_point(given) == [
        "app=energy",
        "optimizer.lr=0.1",
        "seeds=[1,2]",
        "clipping=[none,value]",
        "-c",
    ]
    assert apps_of(given) == ["energy", "finance"]
    assert apps_of(["seeds=1"]) == []
    assert for_app(given[:2], "finance") == ["app=finance", "optimizer.lr=0.1,1"]


def test_only_swept_keys_are_tuned():
    assert read_tuned("a", ["a", "b"]) == ["a"]
    assert read_tuned(["a", "b"], ["a", "b"]) == ["a", "b"]
    assert read_tuned(None, []) == []
    with pytest.raises(UserError, match="tune=c: no swept key; swept: a, b"):
        read_tuned("c", ["a", "b"])
