"""The written page in a real browser: opened from disk, sorted, filtered, in the dark, printed."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import altair as alt
import pandas as pd
import pytest

from apps.report import Results, write_report
from apps.report.charts.theme import WIDTH, Figure

pytest.importorskip("playwright.sync_api")
from playwright.sync_api import Browser, BrowserContext, Page

from tests.apps.report.page.browser import headless

pytestmark = pytest.mark.slow
DESKTOP = {"width": 1280, "height": 900}
PHONE = {"width": 390, "height": 844}
WHITE, NEAR_BLACK = "rgb(255, 255, 255)", "rgb(20, 23, 27)"
Open = Callable[..., Page]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with headless() as found:
        yield found


def stack_of_stacks() -> Figure:
    point = alt.Chart(pd.DataFrame({"x": [0, 1]})).mark_point().encode(x="x:Q")
    pair = alt.vconcat(point.properties(width=WIDTH), point.properties(width=WIDTH))
    return Figure("stacks", "Stacks", "Two pairs of views, one above the other.", pair & pair)


@pytest.fixture(scope="module")
def written(full: tuple[Results, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    results, output_dir = full
    own = tmp_path_factory.mktemp("browser") / "report"  # other tests count the files of `full`
    shutil.copytree(output_dir, own)
    return write_report(results, own, [stack_of_stacks()])


@pytest.fixture
def show(browser: Browser, written: Path) -> Iterator[Open]:
    """Opens the report, without a network, and fails on complaints of the browser."""
    contexts: list[BrowserContext] = []
    complaints: list[str] = []

    def open_page(**options: object) -> Page:
        contexts.append(browser.new_context(**{"viewport": DESKTOP, "offline": True, **options}))  # type: ignore[arg-type]
        page = contexts[-1].new_page()
        page.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: _foreign(request.url, complaints))
        page.on("requestfailed", lambda request: complaints.append(f"failed: {request.url}"))
        page.goto(written.as_uri())
        charts = page.locator(".chart")
        page.wait_for_function(
            "number => document.querySelectorAll('.chart[data-drawn]').length === number",
            arg=charts.count(),
        )
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


def _foreign(url: str, complaints: list[str]) -> None:
    if not url.startswith(("file:", "data:")):
        complaints.append(f"requested: {url}")


def column(page: Page, table: str, number: int, *, shown: bool = False) -> list[str]:
    """The texts of one column, group by group."""
    rows = "tr:not(.group):not([hidden])" if shown else "tr:not(.group)"
    cells = page.locator(f"#table-{table} tbody:not([hidden]) {rows} td:nth-child({number})")
    return cells.all_inner_texts()


def background(page: Page) -> str:
    colour: str = page.evaluate("getComputedStyle(document.body).backgroundColor")
    return colour


def label_colour(page: Page) -> str:
    """The colour of the words on a chart's axis."""
    words = page.locator("#chart-scores .role-axis-label text").first
    colour: str = words.evaluate("element => getComputedStyle(element).fill")
    return colour


def test_it_opens_from_disk_and_draws_every_chart(show: Open, tmp_path: Path) -> None:
    page = show()
    charts = page.locator(".chart svg")
    assert charts.count() == page.locator(".chart").count() >= 5
    for chart in charts.all():
        assert chart.locator(".mark-group path, .mark-symbol path").count() > 3
    page.screenshot(path=tmp_path / "desktop.png", full_page=True)


def test_a_click_on_a_head_sorts_within_each_group(show: Open) -> None:
    page = show()
    head = page.locator("#table-runs thead button", has_text="Seed")
    head.click()
    first = column(page, "runs", 2)
    assert first[:12] == sorted(first[:12])
    head.focus()
    page.keyboard.press("Enter")
    second = column(page, "runs", 2)
    assert second[:12] == sorted(second[:12], reverse=True) != first[:12]
    assert page.locator("#table-runs th[aria-sort=descending]").inner_text().startswith("Seed")


def test_numbers_sort_as_numbers_and_missing_ones_stay_last(show: Open) -> None:
    page = show()
    heads = page.locator("#table-runs thead button").all_inner_texts()
    page.locator("#table-runs thead button", has_text="Diverged at").click()
    ends = column(page, "runs", heads.index("Diverged at") + 1)[:12]
    assert ends == ["297", "297", *["\u2013"] * 10]


def test_the_filter_keeps_the_rows_with_every_word(show: Open) -> None:
    page = show()
    box = page.locator("#table-runs input")
    box.fill("diverged unclipped")
    kept = page.locator("#table-runs tbody tr:not(.group):visible")
    texts = kept.all_inner_texts()
    assert len(texts) == 5
    assert all("diverged" in text and "unclipped" in text for text in texts)
    assert page.locator("#table-runs output").inner_text() == "5 of 42 rows"
    box.fill("no such word")
    assert kept.count() == 0
    assert page.locator("#table-runs tr.group:visible").count() == 0
    box.fill("")
    assert kept.count() == 42


def test_the_switch_turns_page_and_charts_and_is_remembered(show: Open, tmp_path: Path) -> None:
    page = show()
    assert (background(page), label_colour(page)) == (WHITE, "rgb(31, 35, 40)")
    page.locator("#theme").click()
    assert (background(page), label_colour(page)) == (NEAR_BLACK, "rgb(228, 231, 235)")
    page.screenshot(path=tmp_path / "dark.png", full_page=True)
    page.reload()
    assert background(page) == NEAR_BLACK
    page.locator("#theme").click()
    assert background(page) == WHITE


def test_the_system_decides_until_the_reader_does(show: Open) -> None:
    page = show(color_scheme="dark")
    assert background(page) == NEAR_BLACK
    page.locator("#theme").click()
    assert background(page) == WHITE


def test_paper_is_light_and_has_no_controls(show: Open) -> None:
    page = show(color_scheme="dark")
    page.emulate_media(media="print")
    assert (background(page), label_colour(page)) == (WHITE, "rgb(31, 35, 40)")
    assert page.locator("input:visible, button#theme:visible, .files:visible").count() == 0
    page.set_viewport_size({"width": 690, "height": 1000})  # A4 within its margins
    too_wide = "[...document.querySelectorAll('.chart svg, table')]"
    too_wide += ".filter(one => one.getBoundingClientRect().right > 690).length"
    assert page.evaluate(too_wide) == 0


def test_a_phone_scrolls_tables_in_their_box_and_not_the_page(show: Open, tmp_path: Path) -> None:
    page = show(viewport=PHONE, device_scale_factor=2, is_mobile=True, has_touch=True)
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    box = page.locator("#table-scores .scroll")
    assert box.evaluate("box => box.scrollWidth > box.clientWidth")
    widths = page.locator(".chart svg").evaluate_all("all => all.map(one => one.clientWidth)")
    assert max(widths) <= PHONE["width"]
    page.screenshot(path=tmp_path / "phone.png", full_page=True)


# In the page, where a chart that is drawn again may have its labels in another order.
TICKS = """() => [
    ...document.querySelector('#chart-scores .role-axis-label').querySelectorAll('text')
].map(label => label.textContent).sort().join(' ')"""


def test_ctrl_and_the_wheel_zoom_a_chart_and_the_wheel_alone_does_not(show: Open) -> None:
    page = show()
    chart = page.locator("#chart-scores svg")
    chart.scroll_into_view_if_needed()
    before = ticks(page)
    chart.hover()
    page.mouse.wheel(0, 50)
    page.wait_for_timeout(200)
    assert ticks(page) == before
    chart.hover()
    page.keyboard.down("Control")
    page.mouse.wheel(0, -300)
    page.keyboard.up("Control")
    page.wait_for_function(f"old => ({TICKS})() !== old", arg=before)
    chart.dblclick()
    page.wait_for_function(f"old => ({TICKS})() === old", arg=before)


def ticks(page: Page) -> str:
    """What stands along the first axis of a chart."""
    return str(page.evaluate(TICKS))


def test_a_finger_scrolls_over_charts(show: Open) -> None:
    page = show(viewport=PHONE, is_mobile=True, has_touch=True)
    before = ticks(page)
    page.locator("#chart-scores svg").tap()
    assert ticks(page) == before
