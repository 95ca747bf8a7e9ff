from __future__ import annotations

import io
import os
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
import pytest

from data_scripts import energy
from data_scripts.manifest import DataError, Manifest, verify

MIRROR = Path(__file__).parents[3] / "shared/data"
needs_mirror = pytest.mark.skipif(not MIRROR.is_dir(), reason=f"no data mirror at {MIRROR}")


def read(folder: Path) -> pd.DataFrame:
    return pd.read_parquet(folder / "data.parquet").set_index("timestamp")


@needs_mirror
def test_vic_electricity_is_converted(tmp_path, capsys):
    folder = energy.prepare("vic_electricity", tmp_path, MIRROR)
    assert folder == tmp_path / "energy/vic_electricity"
    assert "BSD-3-Clause" in capsys.readouterr().out
    table = read(folder)
    assert list(table.columns) == ["demand", "temperature", "workday"]
    assert len(table) == 52_608
    assert (table.index[1:] - table.index[:-1] == pd.Timedelta(minutes=30)).all()
    # First line of the file: 2011-12-31T13:00:00Z, 4382.825174 MW, 21.4 deg C, a holiday.
    assert table.index[0] == pd.Timestamp("2011-12-31 23:00")
    assert table.iloc[0].tolist() == [pytest.approx(4.382825174), 21.4, 0.0]
    # Monday 2012-01-02 was a public holiday, Tuesday a workday, Saturday the 7th neither.
    days = [table.loc[f"2012-01-{day:02d} 12:00", "workday"] for day in (2, 3, 7)]
    assert days == [0.0, 1.0, 0.0]
    manifest = verify(folder)
    assert manifest.rows == len(table)
    assert manifest.details["first"] == "2011-12-31T23:00:00"
    assert manifest.details["timezone"] == "Australia/Melbourne"


@needs_mirror
def test_etth1_keeps_all_rows_and_the_published_borders(tmp_path):
    folder = energy.prepare("etth1", tmp_path, MIRROR)
    table, splits = read(folder), Manifest.read(folder).splits
    assert table.shape == (17_420, 7)
    assert table.iloc[0]["ot"] == pytest.approx(30.531, abs=1e-3)
    # Rows 8640, 11520 and 14400 of the published protocol.
    borders = [table.index.get_loc(pd.Timestamp(splits[k])) for k in splits]
    assert borders == [8640, 11520, 14400]


@needs_mirror
def test_preparing_again_changes_nothing_and_repairs_damage(tmp_path, capsys):
    folder = energy.prepare("etth1", tmp_path, MIRROR)
    table = folder / "data.parquet"
    before, content = table.stat().st_mtime_ns, table.read_bytes()
    capsys.readouterr()
    energy.prepare("etth1", tmp_path)
    assert table.stat().st_mtime_ns == before
    assert capsys.readouterr().out == ""
    table.write_bytes(content[:1000])
    energy.prepare("etth1", tmp_path)
    assert table.read_bytes() == content


def assert_whole(data: Path) -> None:
    verify(data / "energy/etth1")
    left = sorted(path.name for path in data.rglob("*") if path.is_file())
    assert left == ["ETTh1.csv", "data.parquet", "manifest.json"]


@needs_mirror
def test_two_threads_at_once_both_succeed(tmp_path):
    with ThreadPoolExecutor(2) as threads:
        jobs = [threads.submit(energy.prepare, "etth1", tmp_path, MIRROR) for _ in range(2)]
    assert {job.result() for job in jobs} == {tmp_path / "energy/etth1"}
    assert_whole(tmp_path)


@needs_mirror
def test_two_processes_at_once_both_succeed(tmp_path):
    command = [sys.executable, "-m", "data_scripts.energy", "--dataset", "etth1"]
    command += ["--data-dir", str(tmp_path), "--mirror", str(MIRROR)]
    root = Path(__file__).parents[2]
    runs = [subprocess.Popen(command, cwd=root, stdout=subprocess.DEVNULL) for _ in range(2)]
    assert [run.wait(60) for run in runs] == [0, 0]
    assert_whole(tmp_path)


def test_an_unknown_data_set_names_the_known_ones(tmp_path):
    with pytest.raises(DataError, match="'pjm' is unknown; known are elecdemand"):
        energy.prepare("pjm", tmp_path)


def test_command_line_tells_an_error_in_one_line(tmp_path, capsys):
    missing = str(tmp_path / "absent")
    options = ["--dataset", "etth1", "--data-dir", str(tmp_path / "data"), "--mirror", missing]
    assert energy.main(options) == 2
    assert capsys.readouterr().err == f"error: mirror {missing}: no such folder\n"


@needs_mirror
def test_a_folder_that_cannot_be_made_is_a_data_error(tmp_path):
    (tmp_path / "energy").write_text("a file where the folder should be")
    with pytest.raises(DataError, match="energy/etth1: "):
        energy.prepare("etth1", tmp_path, MIRROR)


def test_a_pickle_that_is_no_table_is_not_opened():
    # os.getcwd stands for any code a crafted pickle could call.
    harmful = pickle.dumps(os.getcwd)
    with pytest.raises(pickle.UnpicklingError, match="not part of a table"):
        energy._FrameUnpickler(io.BytesIO(harmful)).load()


@pytest.mark.slow
def test_elecdemand_really_comes_from_pypi(tmp_path):
    table = read(energy.prepare("elecdemand", tmp_path))
    assert len(table) == 17_520
    assert str(table.index[-1]) == "2014-12-31 23:30:00"
    assert table.iloc[0].tolist() == [pytest.approx(3.914647), 18.2, 0.0]
    # The same series, in UTC and megawatts, is in vic_electricity: this fixes the clock.
    if MIRROR.is_dir():
        other = read(energy.prepare("vic_electricity", tmp_path, MIRROR))
        both = table.join(other.add_suffix("_vic"), how="inner")
        assert len(both) == 17_518
        assert (both["demand"] - both["demand_vic"]).abs().max() < 1e-9
        assert (both["temperature"] == both["temperature_vic"]).all()
