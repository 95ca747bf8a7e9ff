"""Files that cannot be used: each is refused in one line, and nothing is written or lost."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

import pandas as pd
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apps.errors import UserError
from apps.run.folder import RunFolder
from tests.conftest import TINY, load_table, refused, succeed


@pytest.fixture(autouse=True)
def here(empty_folder: Path) -> Path:
    return empty_folder


@pytest.fixture
def run(here: Path, trained: Path) -> Path:
    """A copy of a finished run, to be spoilt."""
    return Path(shutil.copytree(trained, here / "run"))


def _shuffled(table: pd.DataFrame) -> pd.DataFrame:
    return table.iloc[[1, 0, *range(2, len(table))]]


def _with_text(table: pd.DataFrame) -> pd.DataFrame:
    table = table.astype({"load": object})
    table.loc[5, "load"] = "much"
    return table


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (_shuffled, "rows must be in time order"),
        (lambda t: pd.concat([t.iloc[:3], t.iloc[2:]]), "is repeated"),
        (lambda t: t.iloc[: 24 * 20], "20 whole days of 1 h steps are too few"),
        (lambda t: t.iloc[:1], "too few"),
        (lambda t: t.iloc[:0], "a header but no rows"),
        (lambda t: t.drop(columns="load"), "no column 'load'; there are timestamp, temperature"),
        (lambda t: t.drop(index=range(100, 200)), "are missing from"),
        (_with_text, "column 'load', data row 6: 'much' is not a finite number"),
    ],
)
def test_a_series_that_does_not_do(here, spoil, expected):
    spoil(load_table()).to_csv(here / "bad.csv", index=False)
    line = refused("data", "data=csv", "data.path=bad.csv", "data.target=load")
    assert expected in line


@pytest.mark.parametrize("verb", ["train", "compare"])
def test_every_verb_refuses_such_a_series(here, verb):
    _shuffled(load_table()).to_csv(here / "bad.csv", index=False)
    line = refused(verb, "data=csv", "data.path=bad.csv", "data.target=load", *TINY)
    assert "rows must be in time order" in line


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("data.path=none.csv", "none.csv: no such file"),
        ("data.path=.", "Is a directory"),
        ("data.target=demand", "no column 'demand'; there are timestamp, load, temperature"),
        ("data.timestamp=when", "no column 'when'; there are"),
        ("data.known=[wind]", "no column 'wind'; there are"),
        ("data.known=[load]", "a column is named twice"),
    ],
)
def test_a_file_or_column_that_is_not_there(tiny, override, expected):
    assert expected in refused("train", *tiny, override)


def test_a_series_too_short_for_the_baselines_is_refused_before_any_training(here, tiny):
    load_table(24 * 44).to_csv(here / "short.csv", index=False)
    settings = ["data.path=short.csv", "data.val_fraction=0.182", "data.test_fraction=0.182"]
    settings += ["model=lstm", "app.features.lags_days=[8]", "app.horizon=192"]
    assert "days to fit a baseline on" in refused("compare", *tiny, *settings)


@pytest.mark.parametrize("dataset", ["etth1", "vic_electricity"])
@pytest.mark.parametrize("verb", ["data", "train", "compare"])
def test_a_corrupted_download(here, verb, dataset):
    from data_scripts.energy_catalogue import DATASETS

    mirror = here / "mirror"
    mirror.mkdir()
    for name in DATASETS[dataset].sources[0].mirror:
        (mirror / name).parent.mkdir(parents=True, exist_ok=True)
        (mirror / name).write_text("date,ot\n2016-07-01,1.0\n")
    settings = [f"data={dataset}", "data.mirror=mirror", "data.dir=data"]
    ended_before = set(here.rglob("*.parquet"))
    line = _refused_but_for_folders(here, verb, *settings)
    assert "SHA-256" in line
    assert "expected" in line
    assert set(here.rglob("*.parquet")) == ended_before


def _refused_but_for_folders(here: Path, verb: str, *arguments: str) -> str:
    """`refused` for a verb that may make the empty folder of its data."""
    from tests.conftest import run_verb

    before = [path for path in here.rglob("*") if path.is_file()]
    ended = run_verb(verb, *arguments)
    assert (ended.code, ended.err.count("\n")) == (2, 1), ended
    assert [path for path in here.rglob("*") if path.is_file()] == before
    return ended.err


# What may be found in the place of a checkpoint, and what is said; all three verbs read it alike.
NO_CHECKPOINT = [
    ([1, 2], "not a checkpoint of a run"),
    ({"weights": 1}, "not a checkpoint of a run"),
    ({"state_dict": 5}, "does not fit"),
    ({"state_dict": {}}, "does not fit"),
    ({"state_dict": {"net.other": torch.zeros(2)}}, "does not fit"),
]


@pytest.mark.parametrize(
    ("verb", "key"), [("evaluate", "run"), ("predict", "run"), ("train", "resume")]
)
class TestRunFolders:
    def arguments(self, verb: str, key: str, folder: object, load_csv: Path) -> list[str]:
        more = [f"input={load_csv}", "output=out.csv"] if verb == "predict" else []
        return [f"{key}={folder}", *more]

    def test_not_there(self, verb, key, load_csv):
        line = refused(verb, *self.arguments(verb, key, "none", load_csv))
        assert f"{key}=none: no such folder" in line

    def test_a_number_is_a_name_too(self, verb, key, load_csv):
        line = refused(verb, *self.arguments(verb, key, 2024, load_csv))
        assert f"{key}=2024: no such folder" in line

    def test_a_file(self, verb, key, load_csv):
        assert "no such folder" in refused(verb, *self.arguments(verb, key, load_csv, load_csv))

    def test_holds_no_run(self, here, verb, key, load_csv):
        (here / "other").mkdir()
        line = refused(verb, *self.arguments(verb, key, "other", load_csv))
        assert f"{key}=other: holds no run (no config.yaml)" in line

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("[1, 2]", "not the configuration of a run"),
            ("a: 1", "not the configuration of a run"),
            ("a: [", "not a configuration"),
            ("\x00", "not a configuration"),
            ("app: {name: energy}", ""),
        ],
    )
    def test_another_configuration(self, verb, key, run, load_csv, text, expected):
        (run / "config.yaml").write_text(text)
        (run / "metrics.json").unlink()
        assert expected in refused(verb, *self.arguments(verb, key, run, load_csv))

    def test_no_checkpoint(self, verb, key, run, load_csv):
        shutil.rmtree(run / "checkpoints")
        (run / "metrics.json").unlink()
        if verb == "train":
            assert "completed after 4 steps" in succeed(verb, f"{key}={run}")
            return
        line = refused(verb, *self.arguments(verb, key, run, load_csv))
        assert "no such checkpoint" in line

    @pytest.mark.parametrize(
        ("spoil", "expected"),
        [
            (lambda whole: whole[: len(whole) // 2], "not a readable checkpoint"),
            (lambda whole: b"", "not a readable checkpoint"),
            (lambda whole: b"no checkpoint at all", "not a readable checkpoint"),
        ],
    )
    def test_a_damaged_checkpoint(self, verb, key, run, load_csv, spoil, expected):
        for path in (run / "checkpoints").iterdir():
            path.write_bytes(spoil(path.read_bytes()))
        (run / "metrics.json").unlink()
        assert expected in refused(verb, *self.arguments(verb, key, run, load_csv))

    def test_a_file_that_is_no_checkpoint(self, verb, key, run, load_csv):
        (run / "metrics.json").unlink()
        for content, expected in NO_CHECKPOINT if verb == "evaluate" else NO_CHECKPOINT[1:3]:
            for path in (run / "checkpoints").iterdir():
                torch.save(content, path)
            assert expected in refused(verb, *self.arguments(verb, key, run, load_csv))


@pytest.mark.parametrize("verb", ["evaluate", "predict"])
def test_a_run_of_another_application(run, load_csv, verb):
    text = (run / "config.yaml").read_text().replace("name: energy", "name: finance")
    (run / "config.yaml").write_text(text.replace("energy.application.Energy", "finance.Finance"))
    more = [f"input={load_csv}", "output=out.csv"] if verb == "predict" else []
    line = refused(verb, f"run={run}", "app=energy", *more)
    assert "a run of app=finance, not of app=energy" in line
    assert "app._target_=apps.finance.Finance" in refused(verb, f"run={run}", *more)


def test_weights_alone_cannot_be_resumed(run):
    weights = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    torch.save({"state_dict": weights}, run / "checkpoints" / "last.ckpt")
    (run / "metrics.json").unlink()
    assert "cannot be resumed: no callbacks, epoch" in refused("train", f"resume={run}")


@settings(
    max_examples=40,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_damaged_bytes_are_never_a_traceback(trained, here, data):
    whole = bytearray((trained / "checkpoints" / "best.ckpt").read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    (here / "damaged.ckpt").write_bytes(whole)
    with contextlib.suppress(UserError):  # or the damage has hit a number
        assert "state_dict" in RunFolder(here).load_checkpoint(here / "damaged.ckpt")


def test_folders_that_are_taken(here, tiny, run):
    assert f"run_dir={run}: exists and is not empty" in refused("train", *tiny, f"run_dir={run}")
    (here / "file").write_text("mine")
    assert "run_dir=file: exists" in refused("train", *tiny, "run_dir=file")
    assert "run_dir=file/run" in refused("train", *tiny, "run_dir=file/run")
    assert (here / "file").read_text() == "mine"


def test_output_that_is_there_or_cannot_be(here, run, load_csv):
    (here / "out.csv").write_text("mine")
    arguments = [f"run={run}", f"input={load_csv}"]
    assert "output=out.csv: exists" in refused("predict", *arguments, "output=out.csv")
    assert "no such folder" in refused("predict", *arguments, "output=nowhere/out.csv")
    line = refused("predict", *arguments, "output=.", "overwrite=true")
    assert "output=." in line
    line = refused("predict", f"run={run}", "input=none.csv", "output=new.csv")
    assert "input=none.csv: no such file" in line
