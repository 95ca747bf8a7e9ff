"""Lines of measurements for each tail index, with the slope that a paper proves beside them."""

from __future__ import annotations

import altair as alt
import pandas as pd


def facets(
    measured: alt.Chart, x: alt.X, column: str, table: pd.DataFrame, proofs: pd.DataFrame
) -> alt.FacetChart:
    """A panel for each value of `which`, as both tables have it.

    measured: the encoded chart, without data. column: what it draws. proofs: with `proven` in its
    place, drawn dashed.
    """
    # Rows without a value would break a line into points.
    lines = measured.transform_filter(f"isValid(datum.{column})")
    proof = (
        alt.Chart()
        .transform_filter("isValid(datum.proven)")
        .mark_line(strokeDash=[4, 4], color="black", opacity=0.6)
        .encode(x, alt.Y("proven:Q"))
    )
    whole = pd.concat([table, proofs], ignore_index=True)
    panel = alt.layer(lines, proof).properties(width=215, height=240)
    return alt.FacetChart(data=whole, spec=panel, facet=alt.Facet("which:N", title=None), columns=3)
