"""The written report: whole, self-contained, and robust to what runs leave behind."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import altair as alt
import numpy as np
import pandas as pd
import pytest

from apps.report import Figure, Results, read_results, write_report
from apps.report.charts.norms import NUM_STRETCHES
from apps.report.model.step_records import read_records, worst_parameters
from apps.report.model.tables import Cell, Column, NamedTable, Table
from apps.report.tables.scores import metrics_table, scores_table
from tests.apps.report.comparisons import make_results, make_run

PNG = b"\x89PNG\r\n\x1a\n"
GENERAL = {"scores", "learning_curves", "norm_distribution", "norm_course"}
STABILITY = {"sweep", "sweep_map"}


def forecast() -> Figure:
    data = pd.DataFrame({"hour": range(6000), "load": range(6000)})
    chart = alt.Chart(data).mark_line().encode(x="hour:Q", y="load:Q")
    return Figure("forecasts", "Forecasts against truth", "Caption </script> here.", chart)


@pytest.fixture(scope="module")
def written(full: tuple[Results, Path]) -> Path:
    results, output_dir = full
    return write_report(results, output_dir, [forecast()])


def specs(page: str) -> dict[str, dict[str, object]]:
    text = re.search(r'id="specs">(.*?)</script>', page, re.DOTALL)
    assert text is not None
    charts: dict[str, dict[str, object]] = json.loads(text[1])["charts"]
    return charts


class Tags(HTMLParser):
    """Collects what an HTML page loads, and its identifiers."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.ids: set[str] = set()
        self.scripts = 0
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.scripts += tag == "script"
        self.ids.add(found.get("id") or "")
        self.loads += [found[key] or "" for key in ("src", "href", "data") if key in found]


def test_everything_is_written(written: Path) -> None:
    folder = written.parent
    assert written.name == "report.html"
    pictures = {path.stem: path.read_bytes() for path in (folder / "figures").glob("*.png")}
    assert pictures.keys() == GENERAL | STABILITY | {"forecasts"}
    assert all(picture.startswith(PNG) and len(picture) > 5000 for picture in pictures.values())
    drawings = {path.stem: ElementTree.parse(path) for path in (folder / "figures").glob("*.svg")}
    assert drawings.keys() == pictures.keys()
    tables = {"scores", "evidence", "pace", "parameters", "sweep", "runs"}
    for ending in ("csv", "tex"):
        assert {path.stem for path in (folder / "tables").glob(f"*.{ending}")} == tables


def test_page_loads_nothing_from_elsewhere(written: Path) -> None:
    page = written.read_text(encoding="utf-8")
    tags = Tags(page)
    links = [target for target in tags.loads if not target.startswith("#")]
    assert len(links) == 2 * (7 + 6)
    assert all((written.parent / link).is_file() for link in links)
    assert not re.search(r"(@import|url\()\s*['\"]?https?:|(fetch|import)\(['\"]https?:", page)
    assert "default-src 'none'" in page
    assert tags.scripts == 5
    assert written.stat().st_size < 4_000_000


def test_every_chart_has_its_place_and_its_data(written: Path) -> None:
    page = written.read_text(encoding="utf-8")
    charts = specs(page)
    assert charts.keys() == GENERAL | STABILITY | {"forecasts"}
    assert {f"chart-{name}" for name in charts} <= Tags(page).ids
    assert not re.search(r'"url":', json.dumps(charts))


def test_text_of_runs_and_figures_is_escaped(written: Path) -> None:
    page = written.read_text(encoding="utf-8")
    assert "&lt;b&gt;boom&lt;/b&gt; | &lt;/script&gt;" in page
    assert "Caption &lt;/script&gt; here." in page


def test_markdown_names_existing_pictures(written: Path) -> None:
    text = (written.parent / "report.md").read_text(encoding="utf-8")
    pictures = re.findall(r"!\[[^]]*\]\(([^)]+)\)", text)
    assert len(pictures) == 7
    assert all((written.parent / picture).is_file() for picture in pictures)


def test_markdown_tables_are_whole(written: Path) -> None:
    blocks = re.findall(r"(?:^\|.*\n)+", (written.parent / "report.md").read_text(), re.MULTILINE)
    assert len(blocks) == 6
    for block in blocks:
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}
        assert len(widths) == 1


def test_results_on_disk_are_the_results(written: Path, full: tuple[Results, Path]) -> None:
    again = read_results(written.parent / "results.json")
    assert again.runs == full[0].runs
    assert again.sweep == full[0].sweep


def test_small_comparison(small: tuple[Results, Path]) -> None:
    path = write_report(*small)
    assert specs(path.read_text(encoding="utf-8")).keys() == GENERAL


def test_runs_without_files_still_make_a_report(tmp_path: Path) -> None:
    runs = [make_run(tmp_path, name, 1, status="failed") for name in ("none", "agc")]
    text = write_report(make_results(runs), tmp_path).read_text(encoding="utf-8")
    assert specs(text) == {}
    assert "2 runs failed" in text


def test_broken_files_are_read_as_far_as_they_go(tmp_path: Path) -> None:
    runs = [make_run(tmp_path, "none", seed) for seed in (1, 2, 3)]
    first, second, third = (tmp_path / run.run_dir / "steps.csv" for run in runs)
    first.write_text(first.read_text()[:5000])
    second.write_text("")
    third.write_text("step,norm\n0,1.5\n1,oops\n2,nan\n")
    steps = read_records(make_results(runs).shown, tmp_path).steps
    assert set(steps["seed"]) == {1, 3}
    norms = steps.loc[steps["seed"] == 3, "norm"].to_numpy()
    np.testing.assert_array_equal(norms, [1.5, np.nan, np.nan])


def test_zero_thresholds_and_lost_norms_are_drawn_as_far_as_they_can_be(tmp_path: Path) -> None:
    runs = [make_run(tmp_path, name, 1) for name in ("none", "agc", "zclip")]
    changes = {"none": ("norm", 1e-3), "agc": ("norm", np.nan), "zclip": ("threshold", 0.0)}
    for run in runs:
        path = tmp_path / run.run_dir / "steps.csv"
        column, value = changes[run.clipping]
        pd.read_csv(path).assign(**{column: value}).to_csv(path, index=False)
    page = write_report(make_results(runs), tmp_path).read_text(encoding="utf-8")
    assert specs(page).keys() == GENERAL


def test_no_spike_is_lost(tmp_path: Path) -> None:
    run = make_run(tmp_path, "none", 1)
    path = tmp_path / run.run_dir / "steps.csv"
    steps = pd.concat([pd.read_csv(path)] * 30, ignore_index=True)
    steps["step"] = np.arange(len(steps))
    steps.loc[12_345, "norm"] = 98765.0
    steps.to_csv(path, index=False)
    page = write_report(make_results([run]), tmp_path).read_text(encoding="utf-8")
    chart = specs(page)["norm_course"]
    [rows] = chart["datasets"].values()  # type: ignore[attr-defined]
    assert len(rows) <= NUM_STRETCHES
    assert max(row["highest"] for row in rows if row["highest"]) == 98765.0


def test_dominant_parameters_are_shares(full: tuple[Results, Path]) -> None:
    shares = worst_parameters(read_records(full[0].shown, full[1]), top=2)
    assert list(shares.index) == ["rnn.weight_hh_l0", "rnn.weight_ih_l0", "other"]
    np.testing.assert_allclose(shares.sum(), 1.0)


def test_thresholds_fixed_and_adaptive(full: tuple[Results, Path]) -> None:
    records = read_records(full[0].shown, full[1])
    assert records.bound("none") is None
    assert str(records.bound("global_norm")) == "threshold 100"
    adaptive = records.bound("autoclip")
    assert adaptive is not None
    assert adaptive.low < adaptive.median < adaptive.high


def test_continuous_axes_follow_the_wheel_and_others_stay(written: Path) -> None:
    def bound(view: object) -> list[list[str]]:
        if isinstance(view, list):
            return [found for part in view for found in bound(part)]
        if not isinstance(view, dict):
            return []
        own = [p["select"]["encodings"] for p in view.get("params", []) if p["bind"] == "scales"]
        return own + [found for part in view.values() for found in bound(part)]

    charts = specs(written.read_text(encoding="utf-8"))
    assert bound(charts["scores"]) == [["x"]]
    assert bound(charts["learning_curves"]) == [["x", "y"], ["x", "y"]]
    assert bound(charts["sweep_map"]) == [["x"]]  # the working ranges; heat maps have no such axis
    assert bound(charts["sweep"]) == [["y"]]


def test_many_metrics_have_a_table_of_their_own(full: tuple[Results, Path]) -> None:
    assert metrics_table(full[0]) is None
    more = [replace(full[0].primary, name=f"m{i}", label=f"M{i}") for i in range(4)]
    table = metrics_table(replace(full[0], metrics=[*full[0].metrics, *more]))
    assert table is not None
    names = ["unclipped", "global_norm", "autoclip", "zclip", "ridge", "seasonal naive"]
    assert [column.head for column in table.columns[2:]] == names
    [rows] = table.groups.values()
    assert [row[0].text for row in rows[:3]] == ["Quantile loss (%)", "Accuracy", "Coverage (%)"]
    assert [row[4].bold for row in rows[:3]] == [True, True, True]
    assert {cell.text for row in rows[3:] for cell in row[2:]} == {"\u2013"}


def test_survivors_are_not_bold(full: tuple[Results, Path]) -> None:
    table = scores_table(full[0])
    labels = tuple(metric.label for metric in full[0].metrics)
    scored = [i for i, column in enumerate(table.columns) if column.head.startswith(labels)]
    assert len(scored) == 3
    bold = {
        row[0].text: [row[i].bold for i in scored] for rows in table.groups.values() for row in rows
    }
    assert bold["autoclip"] == [True, True, True]
    assert not any(any(cells) for name, cells in bold.items() if name != "autoclip")
    assert all(len(row) == len(table.columns) for rows in table.groups.values() for row in rows)


@pytest.mark.parametrize("name", ["sweep", "grid_1_map", "scores", "a/b", "..", ""])
def test_bad_figure_names_are_refused(small: tuple[Results, Path], name: str) -> None:
    with pytest.raises(ValueError, match="figure name"):
        write_report(*small, [Figure(name, "T", "C", forecast().chart)])


@pytest.mark.parametrize("direction", ["max", pytest.param("target", marks=pytest.mark.slow)])
def test_other_directions_draw(full: tuple[Results, Path], tmp_path: Path, direction: str) -> None:
    results = read_as(full[0], direction)
    page = write_report(results, tmp_path).read_text(encoding="utf-8")
    assert {"scores", "sweep"} <= specs(page).keys()


def read_as(results: Results, direction: str) -> Results:
    """The same numbers, read as a metric of another direction."""
    target = 3.6 if direction == "target" else None
    metric = replace(results.primary, direction=direction, target=target)  # type: ignore[arg-type]
    others = [other for other in results.metrics if other.name != metric.name]
    return replace(results, direction=direction, metrics=[metric, *others])  # type: ignore[arg-type]


def test_a_table_of_the_application_has_a_section(
    full: tuple[Results, Path], tmp_path: Path
) -> None:
    table = Table([Column("Text", words=True)], {"": [[Cell("<b>bad | worse</b>")]]})
    page = write_report(full[0], tmp_path, (), [NamedTable("Mistakes", table, "Read them.")])
    html, markdown = page.read_text(), (tmp_path / "report.md").read_text()
    assert "Mistakes" in html
    assert "&lt;b&gt;bad | worse&lt;/b&gt;" in html
    assert "## Mistakes\n\n| Text |" in markdown
    assert "bad \\| worse" in markdown
    assert "Read them." in markdown
