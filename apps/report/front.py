"""The page over the reports of several applications."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

from apps.report.results import Results
from apps.report.words import headline


def write_front(root: Path, results: Sequence[Results]) -> Path:
    """Write `report.html` over the reports in `root/<app>/`; return its path."""
    parts = ["<!doctype html><meta charset='utf-8'><title>Gradient clipping compared</title>"]
    for one in results:
        app = escape(one.app)
        parts.append(f"<h2><a href='{app}/report.html'>{escape(one.title)}</a></h2><ul>")
        parts += [f"<li>{escape(sentence)}</li>" for sentence in headline(one)]
        parts.append("</ul>")
    path = root / "report.html"
    path.write_text("\n".join(parts), encoding="utf-8")
    return path
