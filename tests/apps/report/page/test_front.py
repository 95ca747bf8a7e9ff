"""The front page over several applications."""

from __future__ import annotations

import html
import re
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from apps.report import Results, write_report
from apps.report.charts.gains import gains_figure
from apps.report.page.findings import verdict
from apps.report.page.front import write_front
from apps.report.statistics.recommendation import recommended
from tests.apps.report.comparisons import make_results, run, two


@pytest.fixture(scope="module")
def fronted(
    full: tuple[Results, Path], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[Results]]:
    root = tmp_path_factory.mktemp("front")
    results = [
        replace(full[0], app="load", title="Load"),
        replace(two([1.0, 1.1], [2.0, 2.2]), app="risk", title="Risk"),
    ]
    for one in results:
        write_report(one, root / one.app, home="../report.html")
    return write_front(root, results), results


def test_it_links_to_every_report_and_back(fronted: tuple[Path, list[Results]]) -> None:
    page, results = fronted
    text = page.read_text(encoding="utf-8")
    links = set(re.findall(r'href="([^"#]+)"', text))
    assert {"load/report.html", "risk/report.html"} <= links
    assert all((page.parent / link).is_file() for link in links)
    for one in results:
        assert 'href="../report.html"' in (page.parent / one.app / "report.html").read_text()


def test_it_has_each_verdict_and_main_figure(fronted: tuple[Path, list[Results]]) -> None:
    page, results = fronted
    text = page.read_text(encoding="utf-8")
    markdown = (page.parent / "report.md").read_text(encoding="utf-8")
    for one in results:
        said = f"{one.title}. {verdict(one)} {recommended(one)}"
        assert said in html.unescape(text)
        assert f"- {said}" in markdown
    pictures = {path.name for path in (page.parent / "figures").iterdir()}
    names = ("gains", "scores_load", "scores_risk")
    assert pictures == {f"{name}.{kind}" for name in names for kind in ("png", "svg")}
    for picture in re.findall(r"!\[[^]]*\]\(([^)]+)\)", markdown):
        assert (page.parent / picture).is_file()


def test_the_overview_has_a_row_for_each_strategy(fronted: tuple[Path, list[Results]]) -> None:
    page, _ = fronted
    table = pd.read_csv(page.parent / "tables" / "overview.csv")
    assert table["group"].tolist() == ["Load"] * 4 + ["Risk"] * 2
    assert table["Strategy"].tolist()[-2:] == ["unclipped", "clip"]
    assert table["Best baseline"].tolist()[:4] == [3.54] * 4
    assert table["Gain on unclipped"].tolist()[-1] == pytest.approx(1.05)


def test_gains_are_percentages_of_the_unclipped_score() -> None:
    figure = gains_figure([two([1.0, 1.1], [2.0, 2.2])])
    assert figure is not None
    [rows] = figure.chart.to_dict()["datasets"].values()
    assert [(row["strategy"], row["gain"]) for row in rows] == [("clip", pytest.approx(50))]
    assert rows[0]["low"] <= rows[0]["gain"] <= rows[0]["high"]


def test_no_pairs_make_no_chart() -> None:
    assert gains_figure([make_results([run("none", 0, 1.0)])]) is None
