"""Rows in the order of their times, and which entity they belong to."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from apps.errors import UserError
from apps.tables.table import Table
from apps.tables.times import Times

_SHOWN = 5


def oldest_first(table: Table, times: Times, *, sort: bool = False) -> tuple[Table, Times]:
    """Turn a table around that begins with its newest row, and put the files of a folder in order.

    The rows of one file otherwise stay as they are, unless `sort`.
    """
    order = np.arange(len(table))
    if sort:
        shown = times.wall if times.offsets is None else times.wall - times.offsets
        order = np.argsort(shown.to_numpy(), kind="stable")
        return table.take(order, "rows sorted by time"), times.take(order)
    notes = []
    files = np.zeros(len(table), np.intp) if table.file is None else table.file
    blocks = [order[files == number] for number in np.unique(files)]
    backward = [_runs_backward(times.wall[block]) for block in blocks]
    if any(backward):
        notes.append("rows turned around, which were newest first")
    blocks = [block[::-1] if turn else block for block, turn in zip(blocks, backward, strict=True)]
    starts = [times.wall[block[0]] for block in blocks]
    if starts != sorted(starts):
        notes.append("files put in the order of their times")
        blocks = [blocks[i] for i in np.argsort(np.asarray(starts), kind="stable")]
    if not notes:
        return table, times
    order = np.concatenate(blocks)
    return table.take(order, *notes), times.take(order)


def _runs_backward(wall: pd.DatetimeIndex) -> bool:
    steps = np.diff(wall.to_numpy()).astype(np.int64)
    return bool((steps < 0).sum() > (steps > 0).sum()) and bool(wall[-1] < wall[0])


def choose_entity(
    table: Table, times: Times, target: str | None, wanted: str | None, column: str | None
) -> tuple[Table, Times]:
    """The rows of one entity, where a table holds the rows of several.

    wanted: its name in a column of names: `column`, or that which has it and separates repeated
    times. Raises UserError for times that are repeated by several entities, listing them, and
    for a name that none has.
    """
    if column is not None:
        table.require([column])
    if wanted is None and column is None and not times.wall.has_duplicates:
        return table, times
    others = [n for n in table.names if n not in (*times.names, target)]
    candidates = [column] if column is not None else others
    if wanted is not None:
        candidates = [name for name in candidates if (_text(table, name) == wanted).any()]
        if not candidates:
            among = f"column {column!r}" if column is not None else f"columns {', '.join(others)}"
            raise UserError(f"{table.path}: data.id={wanted}: no such value in {among}")
    keys = [name for name in candidates if _separates(table, times, name)]
    if wanted is None:
        if column is None and not keys:
            return table, times  # repeated times of one entity, which is another question
        name = column or keys[0]
        raise UserError(_choose(table, name))
    name = keys[0] if keys else candidates[0]
    kept = (_text(table, name) == wanted).to_numpy(bool)
    note = f"{int(kept.sum())} of {len(table)} rows: those with {name} {wanted}"
    one = replace(table, cells=table.cells.drop(columns=name))
    return one.take(kept, note), times.take(kept)


def _choose(table: Table, name: str) -> str:
    ids = [str(value) for value in _text(table, name).dropna().unique()]
    more = f" and {len(ids) - _SHOWN} more" if len(ids) > _SHOWN else ""
    return (
        f"{table.path}: {len(ids)} series by {name!r} ({', '.join(ids[:_SHOWN])}{more}); choose "
        f"one with data.id={ids[0]}"
    )


def _text(table: Table, name: str) -> pd.Series:
    return table.cells[name].map(str, na_action="ignore").astype("str").str.strip()


def _separates(table: Table, times: Times, name: str) -> bool:
    """Whether a column tells rows of one time apart, with most of its values at most times."""
    values = _text(table, name)
    count = values.nunique()
    if not 2 <= count <= len(table) / 2 or 2 * len(table) < count * times.wall.nunique():
        return False
    keys = pd.DataFrame({"value": values.to_numpy(), "time": times.wall})
    if times.offsets is not None:
        keys["time"] = times.wall - times.offsets
    return not keys.duplicated().any()


def check_order(table: Table, name: str, times: pd.DatetimeIndex, cure: str) -> None:
    """UserError for the first row whose time is not after that of the row before.

    cure: what to do about a time that is there twice.
    """
    steps: NDArray[np.timedelta64] = np.diff(times.to_numpy())
    if (steps > np.timedelta64(0)).all():
        return
    row = int(np.argmax(steps <= np.timedelta64(0))) + 1
    here = f"{table.at(row, name)}: {times[row]}"
    earlier = np.flatnonzero(np.asarray(times[:row] == times[row]))
    if len(earlier):
        first = table.where(int(earlier[0])).rsplit(": ", 1)[1]
        raise UserError(f"{here} is repeated ({first} has it, too); {cure}")
    raise UserError(
        f"{here} comes after {times[row - 1]}; rows must be in time order; "
        "set data.sort=true to sort them"
    )
