"""Texts of a user's file are no formulas in a spreadsheet."""

from __future__ import annotations

import pandas as pd
import pytest

from apps.report.model.spreadsheet import write_csv


@pytest.mark.parametrize(
    "text", ["=1+1", "=cmd|' /C calc'!A0", "+SUM(A1)", "-1+1", "@SUM(A1)", "\t=1", "-", "+a"]
)
def test_a_formula_is_a_text(tmp_path, text):
    table = pd.DataFrame({"n": [1.5], text: [text]})
    write_csv(table, tmp_path / "a.csv")
    found = pd.read_csv(tmp_path / "a.csv", dtype=str)
    assert found.columns.tolist() == ["n", f"'{text}"]
    assert found.iloc[0, 1] == f"'{text}"
    write_csv(table, tmp_path / "a.csv", raw=True)
    assert pd.read_csv(tmp_path / "a.csv", dtype=str).iloc[0, 1] == text


@pytest.mark.parametrize("text", ["-1.5", "+3.2 %", "-1,234.5", "1e-3", "-inf", "a=b", "a-b", ""])
def test_what_is_no_formula_stays(tmp_path, text):
    write_csv(pd.DataFrame({"a": [text, "x"]}), tmp_path / "a.csv")
    written = pd.read_csv(tmp_path / "a.csv", dtype=str, keep_default_na=False)
    assert written["a"].tolist() == [text, "x"]


def test_numbers_and_times_stay(tmp_path):
    table = pd.DataFrame({"n": [-1.5, 2.25], "t": pd.to_datetime(["2024-01-01", "2024-01-02"])})
    write_csv(table, tmp_path / "a.csv", float_format="%.6g")
    assert (tmp_path / "a.csv").read_text() == "n,t\n-1.5,2024-01-01\n2.25,2024-01-02\n"
