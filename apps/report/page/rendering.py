"""Templates filled in: pages that load nothing, and Markdown."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
import vl_convert
from markupsafe import Markup, escape

from apps.report.charts.theme import Figure, config, interactive

_TEMPLATES = Path(__file__).parents[1] / "templates"
_SCRIPTS = ("charts.js", "tables.js")


def html(template: str, figures: Mapping[str, Figure], **page: Any) -> str:
    """A page with its style, its scripts and its charts inside it."""
    charts = {name: interactive(figure.chart) for name, figure in figures.items()}
    return (
        _environment(escape=True)
        .get_template(template)
        .render(
            **page,
            style=_read("style.css"),
            early_script=_read("theme.js"),
            scripts=[_bundle(), *map(_read, _SCRIPTS)],
            specs=_embedded({"config": config("currentColor"), "charts": charts}),
        )
    )


def markdown(template: str, **page: Any) -> str:
    """A page in Markdown, in which no text is HTML."""
    return _environment(escape=False).get_template(template).render(**page)


def _environment(*, escape: bool) -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=escape,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        finalize=None if escape else lambda value: str(value).replace("<", "&lt;"),
    )
    environment.filters["cell"] = lambda text: str(text).replace("|", "\\|").replace("\n", " ")
    environment.filters["breakable"] = _breakable
    return environment


def _breakable(text: str) -> Markup:
    """The text, escaped, with a place to break a line after each underscore."""
    return escape(text).replace("_", Markup("_<wbr>"))


def _read(name: str) -> str:
    return (_TEMPLATES / name).read_text(encoding="utf-8")


def _embedded(value: object) -> str:
    """JSON that cannot end the script element around it."""
    return json.dumps(value, separators=(",", ":")).replace("<", "\\u003c")


@cache
def _bundle() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script."""
    return vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;").replace(
        "</script", "<\\/script"
    )
