"""Every format with every quirk gives the same series, and says what it was."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from apps.energy.table import TableOptions, TimeTable, read_table
from tests.apps.tables.layouts import FORMATS, HOURS, LOAD, QUIRKS, TEMPERATURE, TIMES, rows, write

# Formats whose rows cannot be ragged, or whose header must be the first of them.
_STRICT = {"json", "lines", "columns", "nested", "excel", "parquet", "nested twice", "data alone"}
_RAGGED = {"title above"}


def check(found: TimeTable, missing: tuple[int, ...] = ()) -> None:
    assert found.frame.index.equals(TIMES)
    # Written with two digits after the point, or five after that of a thousand.
    np.testing.assert_allclose(found.frame["target"], LOAD, atol=0.0051)
    expected = TEMPERATURE.copy()
    expected[list(missing)] = np.nan
    np.testing.assert_allclose(found.frame["temperature"], expected, atol=0.0051)
    assert found.columns.past == ("temperature",)


def read(path: Path, **options) -> TimeTable:
    return read_table(path, TableOptions(target="load", **options))


CASES = [("csv", quirk) for quirk in QUIRKS] + [
    (form, quirk)
    for form in FORMATS
    if form != "csv"
    for quirk in ("iso", "day first", "german", "title above", "newest first", "milliseconds")
    if not (form in _STRICT and quirk in _RAGGED)
]


@pytest.mark.parametrize(("form", "quirk"), CASES)
def test_a_layout_is_read_right(tmp_path, form, quirk):
    found = read(write(tmp_path, form, QUIRKS[quirk]()))
    check(found, (199, 200, 201) if quirk == "words missing" else ())
    found_units = [note for note in found.notes if "the unit" in note]
    assert len(found_units) == (2 if quirk in ("unit", "kroner") else 0)
    assert found.found == FORMATS[form][2]
    assert ("rows turned around, which were newest first" in found.notes) == (
        quirk == "newest first"
    )


def test_typed_columns_are_read_as_they_are(tmp_path):
    table = pd.DataFrame({"timestamp": TIMES, "load": LOAD, "temperature": TEMPERATURE})
    table.to_parquet(tmp_path / "a.parquet", index=False)
    table.set_index("timestamp").to_parquet(tmp_path / "b.parquet")
    table.to_excel(tmp_path / "c.xlsx", index=False)
    table.to_json(tmp_path / "d.json", orient="records", date_format="iso")
    for path in sorted(tmp_path.iterdir()):
        check(read(path))


def test_days_and_times_of_a_spreadsheet(tmp_path):
    table = pd.DataFrame({"date": TIMES.normalize(), "time": TIMES.time, "load": LOAD})
    table["temperature"] = TEMPERATURE
    table.to_excel(tmp_path / "a.xlsx", index=False)
    check(read(tmp_path / "a.xlsx"))


def test_indexes_of_several_levels(tmp_path):
    table = pd.DataFrame({"timestamp": TIMES, "load": LOAD, "temperature": TEMPERATURE})
    both = pd.concat({"A1": table, "B7": table.assign(load=1.0)}, names=["id"])
    both.reset_index("id").set_index(["id", "timestamp"]).to_parquet(tmp_path / "a.parquet")
    check(read(tmp_path / "a.parquet", id="A1"))


@pytest.mark.parametrize("form", ["time to number", "time to values"])
def test_times_as_names_in_json(tmp_path, form):
    numbers = dict(zip(map(str, TIMES), LOAD, strict=True))
    document = numbers if form == "time to number" else {t: {"load": x} for t, x in numbers.items()}
    (tmp_path / "a.json").write_text(json.dumps(document))
    found = read_table(tmp_path / "a.json", TableOptions())
    assert found.frame.index.equals(TIMES)
    np.testing.assert_array_equal(found.frame["target"], LOAD)


def test_a_folder_is_one_table_in_the_order_of_time(tmp_path):
    table = rows()
    for name, part in (("feb", table[301:]), ("jan", table[1:301])):
        write(tmp_path, "csv", [table[0], *part]).rename(tmp_path / f"{name}.csv")
    (tmp_path / "README.md").write_text("mine")
    found = read(tmp_path)
    check(found)
    assert found.found == "2 files of CSV"
    assert "files put in the order of their times" in found.notes


def test_columns_without_a_header(tmp_path):
    table = rows(header=())
    check(read(write(tmp_path, "tsv", table), **named("timestamp", "load", "temperature")))
    path = write(tmp_path, "csv", table)
    check(read(path, **named("timestamp", "load", "temperature")))


def named(*columns: str) -> dict[str, object]:
    from apps.tables.reading import Reading

    return {"reading": Reading(columns=columns)}


def test_latin_names_are_read_and_said(tmp_path):
    table = rows(header=("Zeit", "Last (kW)", "Außentemperatur °C"))
    (tmp_path / "load.csv").write_bytes("\n".join(";".join(row) for row in table).encode("latin-1"))
    found = read_table(tmp_path / "load.csv", TableOptions(target="Last (kW)"))
    assert list(found.frame.columns) == ["target", "Außentemperatur °C"]
    assert found.found == "semicolon-separated, encoding cp1252"
    assert len(found.frame) == HOURS


def test_one_entity_of_many(tmp_path):
    table = rows()
    long = [["id", *table[0]]]
    for row in table[1:]:
        long += [["B7", row[0], "1", "2"], ["A1", *row]]
    found = read(write(tmp_path, "csv", long), id="A1", id_column="id")
    check(found)
    check(read(write(tmp_path, "csv", long), id="A1", past=["temperature"]))
