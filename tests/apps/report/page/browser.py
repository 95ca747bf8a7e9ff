"""A headless browser for the tests of pages: Playwright's own, or one that the machine has."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest
from playwright.sync_api import Browser, BrowserType, Error, sync_playwright

_ON_PATH = ("chromium", "chromium-browser", "google-chrome", "chrome", "microsoft-edge", "msedge")
_CHANNELS = ("chrome", "msedge")  # where their installers put them


@contextmanager
def headless() -> Iterator[Browser]:
    """The first browser that starts; skips the test on a machine that has none."""
    with sync_playwright() as playwright:
        browser = _started(playwright.chromium)
        if browser is None:
            pytest.skip("no Chromium, Chrome or Edge here; `playwright install chromium` gets one")
        with browser:
            yield browser


def _started(chromium: BrowserType) -> Browser | None:
    with suppress(Error):
        return chromium.launch()
    for path in filter(None, map(shutil.which, _ON_PATH)):
        with suppress(Error):
            return chromium.launch(executable_path=path)
    for channel in _CHANNELS:
        with suppress(Error):
            return chromium.launch(channel=channel)
    return None
