"""What programs export is read right, whatever they put above, below and around it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from apps.energy.table import TableOptions, TimeTable, read_table
from apps.errors import UserError
from apps.tables.reading import Reading
from tests.apps.tables.exports import EXPORTS, OFFSETS, timed
from tests.apps.tables.layouts import LOAD, TIMES


def read(path: Path, **options) -> TimeTable:
    found = read_table(path, TableOptions(**options))
    np.testing.assert_array_equal(found.frame["target"], LOAD)
    return found


@pytest.mark.parametrize("name", EXPORTS)
def test_an_export_is_read_right(tmp_path, name):
    (tmp_path / "load.csv").write_text(EXPORTS[name], encoding="utf-8")
    target = "0" if name.startswith("pandas") else "load"
    assert read(tmp_path / "load.csv", target=target).frame.index.equals(TIMES)


@pytest.mark.parametrize("name", OFFSETS)
def test_offsets_as_programs_write_them(tmp_path, name):
    (tmp_path / "load.csv").write_text(timed(OFFSETS[name]))
    found = read(tmp_path / "load.csv")
    assert found.frame.index.equals(TIMES)
    assert found.clock.utc_offset == "+01:00"


@pytest.mark.parametrize("orient", ["columns", "index", "split", "series"])
@pytest.mark.parametrize("date_format", ["epoch", "iso"])
def test_pandas_json_keeps_its_index_of_times(tmp_path, orient, date_format):
    times = [t.isoformat() if date_format == "iso" else int(1000 * t.timestamp()) for t in TIMES]
    series = dict(zip(map(str, times), LOAD, strict=True))
    document = {
        "columns": {"load": series},
        "index": {time: {"load": load} for time, load in series.items()},
        "split": {"columns": ["load"], "index": times, "data": [[load] for load in LOAD]},
        "series": series,
    }[orient]
    (tmp_path / "load.json").write_text(json.dumps(document))
    assert read(tmp_path / "load.json").frame.index.equals(TIMES)


def test_what_is_left_out_is_said(tmp_path):
    (tmp_path / "load.csv").write_text(EXPORTS["psql"])
    notes = read(tmp_path / "load.csv").notes
    assert "1 rows of rules (---------------------+---------) left out" in notes
    assert "1 lines below the table left out" in notes
    (tmp_path / "load.csv").write_text(EXPORTS["Green Button"])
    assert "5 lines above the header skipped" in read(tmp_path / "load.csv", target="load").notes


def test_a_sheet_with_an_account_above(tmp_path):
    with pd.ExcelWriter(tmp_path / "load.xlsx") as book:
        table = pd.DataFrame({"time": TIMES, "load": LOAD})
        table.to_excel(book, index=False, startrow=4, sheet_name="Load")
        for row, (name, value) in enumerate([("Unit", "MW"), ("Made", TIMES[9])], 1):
            book.sheets["Load"].cell(row, 1, name)
            book.sheets["Load"].cell(row, 2, value)
    assert read(tmp_path / "load.xlsx").frame.index.equals(TIMES)


def test_columns_that_blanks_align(tmp_path):
    text = "".join(f"{t:%Y-%m-%d} {t.hour:5d} {x:9.2f}\n" for t, x in zip(TIMES, LOAD, strict=True))
    (tmp_path / "load.txt").write_text("date        hour     load\n" + text)
    found = read(tmp_path / "load.txt", target="load", reading=Reading(sep="blank"))
    assert found.frame.index.equals(TIMES)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("2024-01-01 00:00:00 EST", "zones as offsets such as +01:00"),
        ("1. Januar 2024 00:00", "months are read in English"),
        ("2024-01-01 20:00+99", "'2024-01-01 20:00+99' is not a time"),
        ("1234 1/2", "'1234 1/2' is not a time"),
    ],
)
def test_times_of_an_unknown_form_are_shown(tmp_path, lines, expected):
    (tmp_path / "load.csv").write_text(f"when;load\n{lines};1\n{lines.replace('1', '2', 1)};2\n")
    with pytest.raises(UserError) as caught:
        read(tmp_path / "load.csv")
    assert expected in str(caught.value)


@pytest.mark.parametrize("other", ["Sunrise", "sunshine hours"])
def test_what_is_the_same_all_day_is_no_hour_of_it(tmp_path, other):
    cells = {"Sunrise": "07:{:02d}", "sunshine hours": "{}"}
    rows = (
        f"{t:%Y-%m-%d},m{t.hour},{cells[other].format(t.day)},{x}\n"
        for t, x in zip(TIMES, LOAD, strict=True)
    )
    (tmp_path / "load.csv").write_text(f"day,meter,{other},load\n" + "".join(rows))
    found = read_table(tmp_path / "load.csv", TableOptions(target="load", id="m3"))
    np.testing.assert_array_equal(found.frame["target"], LOAD[3::24])
    assert found.frame.index.equals(TIMES[::24])


@pytest.mark.parametrize("cell", ["9999", "99999.0", "1e30"])
def test_a_number_far_above_all_others_may_stand_for_a_missing_one(tmp_path, cell):
    rows = [f"{t},{cell if i in (5, 9) else 7 + i % 5}\n" for i, t in enumerate(TIMES)]
    (tmp_path / "load.csv").write_text("when,load\n" + "".join(rows))
    with pytest.raises(UserError, match=r"\(2 times\) is far above all others") as caught:
        read(tmp_path / "load.csv")
    assert f"data.missing=['{cell}']" in str(caught.value)
    found = read_table(tmp_path / "load.csv", TableOptions(reading=Reading(missing=[cell])))
    assert found.frame["target"].isna().sum() == 2
