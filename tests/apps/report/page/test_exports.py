"""Tables as CSV and LaTeX."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest

from apps.report import Results
from apps.report.model.tables import Cell, Column, Table
from apps.report.page.exports import as_frame, escape, file_stem, latex, runs_frame, write_tables

COLUMNS = [Column("Name", words=True), Column("Loss (%)", "lower is better"), Column("Runs")]
TABLE = Table(
    COLUMNS,
    {
        "Network": [
            [Cell("global_norm"), Cell("3.50 \u00b1 0.05", 3.5, bold=True), Cell("3 of 3")],
            [Cell("[a & b] 5 %"), Cell("\u2013"), Cell("0 of 3")],
        ],
        "Classical": [[Cell("ridge"), Cell("3.54", 3.54), Cell("\u2013")]],
    },
)


def test_a_csv_file_has_spreads_and_groups_in_columns_of_their_own(tmp_path: Path) -> None:
    write_tables({"scores": TABLE}, tmp_path / "tables")
    frame = pd.read_csv(tmp_path / "tables" / "scores.csv")
    assert list(frame) == ["group", "Name", "Loss (%)", "Loss (%) \u00b1", "Runs"]
    assert frame["group"].tolist() == ["Network", "Network", "Classical"]
    assert frame["Loss (%)"].tolist() == pytest.approx([3.5, float("nan"), 3.54], nan_ok=True)
    assert frame["Loss (%) \u00b1"].tolist() == pytest.approx(
        [0.05, *[float("nan")] * 2], nan_ok=True
    )


def test_one_group_needs_no_column() -> None:
    assert list(as_frame(Table(COLUMNS, {"": TABLE.groups["Classical"]}))) == [
        "Name",
        "Loss (%)",
        "Runs",
    ]


def test_latex_rows_are_whole_and_say_what_the_table_says() -> None:
    text = latex(TABLE)
    assert text.startswith("\\begin{tabular}{lrr}\n\\toprule\n")
    assert text.endswith("\\bottomrule\n\\end{tabular}\n")
    assert "global\\_norm & \\textbf{3.50 $\\pm$ 0.05} & 3 of 3 \\\\" in text
    assert "{[}a \\& b] 5 \\% & -- & 0 of 3 \\\\" in text
    assert "\\multicolumn{3}{l}{\\emph{Classical}} \\\\" in text
    rows = [line for line in text.splitlines() if " & " in line]
    assert all(len(re.findall(r"(?<!\\)&", row)) == 2 for row in rows)
    assert text.count("{") == text.count("}")


def test_latex_commands_in_a_text_are_letters() -> None:
    assert escape("~\\x{1}^2 < $a_b# |\n") == (
        r"\textasciitilde{}\textbackslash{}x\{1\}\textasciicircum{}2 \textless{} \$a\_b\# "
        r"\textbar{}"
    )


def test_the_file_of_runs_holds_everything(full: tuple[Results, Path]) -> None:
    results = full[0]
    assert results.sweep is not None
    frame = runs_frame(results)
    assert frame["grid"].value_counts().to_dict() == {"sweep": 30, "comparison": 12}
    first = results.runs[0]
    assert frame.loc[0, "test.loss"] == first.test["loss"]
    assert frame.loc[0, "clip_rate"] == first.clip_rate
    assert frame.loc[12, "settings.optimizer.lr"] == results.sweep.runs[0].settings["optimizer.lr"]


def test_a_title_becomes_a_file_stem() -> None:
    assert file_stem("Scores by domain (95 %)") == "scores_by_domain_95"
