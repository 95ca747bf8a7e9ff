"""How the pictures of the documentation look: readable on light and on dark pages."""

from __future__ import annotations

from pathlib import Path

import altair as alt

IMAGES = Path(__file__).parents[1] / "images"
BLUE, ORANGE, GREY = "#4c8dd6", "#f2903a", "#8a8a8a"


def write(chart: alt.TopLevelMixin, path: Path) -> None:
    """Write a chart as SVG without a background of its own."""
    styled = (
        chart.configure(background="#00000000", font="sans-serif")
        .configure_view(stroke=None)
        .configure_axis(
            labelColor=GREY,
            titleColor=GREY,
            gridColor=GREY,
            gridOpacity=0.25,
            domainColor=GREY,
            tickColor=GREY,
        )
        .configure_header(labelColor=GREY, titleColor=GREY)
        .configure_legend(labelColor=GREY, titleColor=GREY, orient="top")
        .configure_title(color=GREY)
    )
    path.parent.mkdir(exist_ok=True)
    styled.save(str(path))
