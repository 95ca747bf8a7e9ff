"""Files of recorded cars: which column holds what, in whose layout."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, TypeAlias

from apps.errors import UserError
from apps.tables.table import Table

Units: TypeAlias = Literal["metres", "feet"]


@dataclass(frozen=True, slots=True)
class Layout:
    """How a kind of file names its columns, in lower case without underscores.

    columns: those that must be there, by what they hold. optional: those that may be. units: of
    places and lengths. rate: frames a second, None where the file does not fix it. tick: seconds
    in one unit of the times. shift: from the place that is written to the middle of the car, in
    lengths and widths.
    """

    name: str
    columns: Mapping[str, str]
    optional: Mapping[str, str]
    units: Units = "metres"
    rate: float | None = None
    tick: float = 1.0
    shift: tuple[float, float] = (0.0, 0.0)


# Krajewski et al. 2018, The highD dataset: x and y are the upper left corner of a box, whose width
# lies along the road; 25 frames a second.
HIGHD = Layout(
    "highD",
    MappingProxyType(
        {"id": "id", "frame": "frame", "x": "x", "y": "y", "lane": "laneid"}
        | {"length": "width", "width": "height"}
    ),
    MappingProxyType({}),
    rate=25.0,
    shift=(0.5, 0.5),
)
# US Department of Transportation 2006, Next Generation Simulation trajectories: Local_Y along the
# road to the middle of the front bumper, Local_X from its left edge, in feet; 10 frames a second.
NGSIM = Layout(
    "NGSIM",
    MappingProxyType(
        {"id": "vehicleid", "frame": "frameid", "x": "localy", "y": "localx", "lane": "laneid"}
        | {"length": "vlength"}
    ),
    MappingProxyType({"time": "globaltime"}),
    units="feet",
    rate=10.0,
    tick=1e-3,
    shift=(-0.5, 0.0),
)
PLAIN = Layout(
    "plain columns",
    MappingProxyType({name: name for name in ("id", "frame", "x", "y", "lane")}),
    MappingProxyType({"length": "length", "time": "time"}),
)
LAYOUTS: Sequence[Layout] = (NGSIM, HIGHD, PLAIN)


def find_layout(table: Table) -> tuple[Layout, dict[str, str]]:
    """The layout of a table, and its own column for each thing that it holds.

    Raises UserError, which lists the columns there are, for a table of none.
    """
    there = {_plain(name): name for name in reversed(table.names)}
    for layout in LAYOUTS:
        if set(layout.columns.values()) <= there.keys():
            wanted = {**layout.columns, **layout.optional}
            return layout, {what: there[name] for what, name in wanted.items() if name in there}
    nearest = min(LAYOUTS, key=lambda layout: len(set(layout.columns.values()) - there.keys()))
    lacking = [name for name in nearest.columns.values() if name not in there]
    raise UserError(
        f"{table.path}: no tracks: {nearest.name} lacks {', '.join(lacking)}; there are "
        f"{', '.join(table.names)}; wanted are id, frame, x, y and lane, or the columns of highD "
        "or NGSIM"
    )


def _plain(name: str) -> str:
    return re.sub(r"[\W_]", "", name).lower()
