"""The documentation site in a browser, opened from disk: links, search, widths, light and dark."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from tests.apps.report.page.browser import headless

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.slow  # half a minute: a build of the site and a browser


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    quiet = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    subprocess.run(command, cwd=ROOT, check=True, env=quiet, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with headless() as found:
        yield found


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page that may not complain, nor ask for anything that is not on this disk."""
    complaints: list[str] = []
    with browser.new_context(viewport={"width": 1280, "height": 900}) as context:
        found = context.new_page()
        found.on("pageerror", lambda error: complaints.append(str(error)))
        found.on("requestfailed", lambda request: complaints.append(request.url))
        found.on(
            "request",
            lambda request: (
                complaints.append(request.url)
                if request.url.startswith(("http:", "https:", "//"))
                else None
            ),
        )
        yield found
    assert complaints == []


def pages(site: Path) -> list[Path]:
    return sorted(path for path in site.rglob("*.html") if path.name != "404.html")


def test_every_internal_link_leads_to_a_page_and_a_place_on_it(site: Path, page: Page) -> None:
    places: dict[str, set[str]] = {}
    links: set[str] = set()
    for path in pages(site):
        page.goto(path.as_uri(), wait_until="load")
        places[path.as_uri()] = set(page.eval_on_selector_all("[id]", "all => all.map(x => x.id)"))
        links |= set(page.eval_on_selector_all("a[href]", "all => all.map(x => x.href)"))
        broken = page.eval_on_selector_all(
            "img", "all => all.filter(x => !x.complete || !x.naturalWidth).map(x => x.src)"
        )
        assert broken == []
    inside = {link for link in links if link.startswith("file:")}
    assert len(inside) > 100
    lost = [
        link
        for link in inside
        if link.partition("#")[0] not in places
        or (link.partition("#")[2] or "__skip") not in places[link.partition("#")[0]] | {"__skip"}
    ]
    assert lost == []


def test_search_works_without_a_server(site: Path, page: Page) -> None:
    page.goto((site / "index.html").as_uri())
    page.click(".md-search__input")
    page.type(".md-search__input", "percentile", delay=20)
    found = page.locator(".md-search-result__item a")
    found.first.wait_for()
    targets = found.evaluate_all("all => all.map(x => x.href)")
    assert any("reference/thresholds.html" in target for target in targets)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_no_page_is_wider_than_the_window(
    site: Path, page: Page, width: int, scheme: str, tmp_path: Path
) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    shots = Path(os.environ.get("SITE_SHOTS", tmp_path))
    for path in pages(site):
        page.goto(path.as_uri(), wait_until="load")
        across = page.evaluate("document.documentElement.scrollWidth")
        assert across <= width, f"{path.name} is {across} wide"
        wanted = "slate" if scheme == "dark" else "default"
        assert page.get_attribute("body", "data-md-color-scheme") == wanted
        if path.name in ("index.html", "learnt.html", "clippers.html", "strategies.html"):
            page.screenshot(path=shots / f"{path.stem}-{width}-{scheme}.png")
