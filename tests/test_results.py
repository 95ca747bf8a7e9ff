"""The page of results: figures stand on the pages that the rows link, and rows have commands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"
PAGE = (DOCS / "results.md").read_text()
FIGURE = re.compile(r"(?<![\w.])\d*\.\d+(?![\w.])")
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in PAGE.splitlines()
    if re.match(r"\| \d+ \|", line)
]


def is_reported(figures: list[str], page: str) -> bool:
    """Whether one paragraph or table of a page holds all the figures."""
    return any(set(figures) <= set(FIGURE.findall(block)) for block in page.split("\n\n"))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_the_figures_of_a_row_stand_on_its_page(row: list[str]) -> None:
    _, data, _, classical, unclipped, clipped, published, time = row
    (link,) = re.findall(r"\((\w+\.md)", data)
    page = (DOCS / link).read_text()
    figures = FIGURE.findall(" ".join([classical, unclipped, clipped]))
    assert len(figures) >= 2
    assert is_reported(figures, page)
    assert is_reported(FIGURE.findall(published), page)
    assert set(re.findall(r"\w+", time)) - {"s"} <= set(re.findall(r"\w+", page))


def test_a_figure_that_is_not_there_is_found_out() -> None:
    assert is_reported(["2.17", "3.55"], "| 2.17 | 3.55 |\n\n1.0")
    assert not is_reported(["2.17", "1.0"], "| 2.17 | 3.55 |\n\n1.0")
    assert not is_reported(["2.1"], "| 2.17 |")


def test_every_row_has_its_command() -> None:
    comments = re.findall(r"^gradclip-.*# ([\d and]+)$", PAGE, re.M)
    numbers = [number for comment in comments for number in comment.split(" and ")]
    assert numbers == [row[0] for row in ROWS] == [str(n + 1) for n in range(len(ROWS))]
