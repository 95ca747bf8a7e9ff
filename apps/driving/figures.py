"""Pictures of drives for the report: one scenario with several drivers, and all seeds together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import altair as alt
import numpy as np
import pandas as pd

from apps.driving.animation import AHEAD, BEHIND, OTHERS, SPEED, gif
from apps.driving.drivers import BASELINES
from apps.driving.replay import replay
from apps.driving.scenarios import Highway
from apps.driving.traffic import LANE_WIDTH, LENGTH, TOP_SPEED, WIDTH
from apps.report.charts.theme import ALARM, GREY, PALETTE, Figure, Layers, colours
from apps.report.charts.theme import WIDTH as PAGE
from apps.report.model.formatting import label
from apps.report.model.runs import UNCLIPPED

RULE = "tracker_idm"
_SHOWN = 4  # moments in a strip
_LEAST_KL = 1e-6  # smaller ones, of a rate near 0, are drawn here
_LOG, _POWERS = alt.Scale(type="log"), alt.Axis(format="~g", values=[10.0**k for k in range(-6, 4)])
_CARS = ("driver", "crash", "others")
_COLOUR = alt.Color(
    "kind:N",
    title=None,
    scale=alt.Scale(domain=list(_CARS), range=[PALETTE[0], ALARM, OTHERS]),
)


def figures(highway: Highway, predictions: Mapping[str, pd.DataFrame]) -> Sequence[Figure]:
    """A strip and a space-time diagram of one dense scenario, with the drivers that differ."""
    trained = [name for name in predictions if name not in BASELINES]
    if not trained:
        return []
    clipped = [name for name in trained if name != UNCLIPPED][:1]
    names = [*clipped, *(n for n in (UNCLIPPED, RULE) if n in predictions)]
    dense = {name: _dense(predictions[name]) for name in names}
    number = telling(list(dense.values()))
    drives = {
        name: replay(highway, "dense", number, [int(digit) for digit in table["actions"][number]])
        for name, table in dense.items()
    }
    return [_strip(drives, number, highway.lanes), _space_time(drives, number)]


def _dense(table: pd.DataFrame) -> pd.DataFrame:
    return table[table["split"] == "dense"].set_index("scenario")


def telling(tables: Sequence[pd.DataFrame]) -> int:
    """The scenario whose scores lie furthest apart among these drivers, the first of several.

    tables: by scenario, with a column `score`.
    """
    scores = np.stack([table["score"].to_numpy() for table in tables])
    return int(tables[0].index[int(np.argmax(scores.max(axis=0) - scores.min(axis=0)))])


def _strip(drives: Mapping[str, pd.DataFrame], number: int, lanes: int) -> Figure:
    last = min(float(drive["time"].max()) for drive in drives.values())
    # Half seconds, the last of them the end of the shortest drive.
    times = np.round(2 * last * np.arange(1, _SHOWN + 1) / _SHOWN) / 2
    width = (PAGE - 60) // _SHOWN - 10
    rows = []
    for name, drive in drives.items():
        panels = [_road(_around(drive, float(time)), f"{time:g} s", width, lanes) for time in times]
        title = alt.TitleParams(label(name), anchor="start", fontSize=12)
        rows.append(alt.hconcat(*panels, spacing=10).properties(title=title))
    return Figure(
        "driving_strip",
        "The same scenario, driver by driver",
        f"Dense test scenario {number}, the one in which the scores of these drivers (first seed) "
        "lie furthest apart, at the same moments up to the end of the shortest drive. Traffic "
        "drives to the right; the road moves with the driver's car. driving_strip.gif beside the "
        f"picture shows all of it, {SPEED} times as fast as life.",
        alt.vconcat(*rows, spacing=14),
        gif({label(name): drive for name, drive in drives.items()}, lanes),
    )


def _around(drive: pd.DataFrame, time: float) -> pd.DataFrame:
    """The cars near the driver's at a moment, as boxes in m and lanes."""
    now = drive[drive["time"] == time]
    place = float(now.loc[now["car"] == 0, "x"].iloc[0])
    now = now.assign(x=now["x"] - place, kind=_kinds(now))
    now = now[now["x"].between(-BEHIND, AHEAD)]
    half = WIDTH / LANE_WIDTH / 2
    boxes = {"low": now["x"] - LENGTH / 2, "high": now["x"] + LENGTH / 2}
    return now.assign(**boxes, top=now["lane"] - half, bottom=now["lane"] + half)


def _kinds(cars: pd.DataFrame) -> list[str]:
    own = np.where(cars["crashed"], "crash", "driver")
    return list(np.where(cars["car"] == 0, own, "others"))


def _road(cars: pd.DataFrame, title: str, width: int, lanes: int) -> Layers:
    across = alt.Scale(domain=[-0.5, lanes - 0.5], reverse=True, nice=False)
    along = alt.Scale(domain=[-BEHIND, AHEAD], nice=False)
    lines = pd.DataFrame({"lane": np.arange(lanes + 1) - 0.5})
    ruled = alt.Chart(lines).mark_rule(color=GREY, opacity=0.5)
    drawn = alt.Chart(cars).mark_rect()
    return (
        alt.layer(
            ruled.encode(y=alt.Y("lane:Q", scale=across, axis=None)),
            drawn.encode(
                x=alt.X("low:Q", scale=along, axis=None),
                x2="high:Q",
                y=alt.Y("top:Q", scale=across, axis=None),
                y2="bottom:Q",
                color=_COLOUR,
            ),
        )
        .properties(width=width, height=11 * lanes)
        .properties(title=alt.TitleParams(title, fontSize=10, fontWeight="normal", offset=2))
    )


def _space_time(drives: Mapping[str, pd.DataFrame], number: int) -> Figure:
    width = (PAGE - 40) // len(drives) - 30
    panels = [
        _paths(drive, label(name), width, first=place == 0)
        for place, (name, drive) in enumerate(drives.items())
    ]
    return Figure(
        "space_time",
        "Space and time",
        f"The same scenario ({number}). Up is ahead of a car that would drive at {TOP_SPEED:g} m/s "
        "from the start; a line is a car while it is on the lane of the driver's (dark) or on "
        "another (pale). The blue line is the driver's; a cross is its crash.",
        alt.hconcat(*panels, spacing=18).resolve_scale(x="shared", y="shared"),
    )


def _paths(drive: pd.DataFrame, title: str, width: int, *, first: bool) -> Layers:
    start = float(drive["x"].iloc[0])
    ahead = drive["x"] - start - TOP_SPEED * drive["time"]
    place = drive.assign(ahead=ahead.round(2), same=drive["lane"].round() == drive["own_lane"])
    own = place[place["car"] == 0]
    near = place[
        place["ahead"].between(own["ahead"].min() - BEHIND, own["ahead"].max() + AHEAD)
        & (place["car"] != 0)
    ]
    # Another stretch on the same lane is another line.
    stretch = near.groupby("car")["same"].transform(lambda flags: (flags != flags.shift()).cumsum())
    near = near.assign(line=near["car"].astype(str) + "_" + stretch.astype(str))
    x = alt.X("time:Q", title="s", axis=alt.Axis(tickCount=4))
    y = alt.Y("ahead:Q", title="m ahead of 30 m/s" if first else None, scale=alt.Scale(zero=False))
    shade = alt.Opacity("same:N", scale=alt.Scale(domain=[False, True], range=[0.25, 0.9]))
    others = alt.Chart(near).mark_line(strokeWidth=1, color=OTHERS)
    mine = alt.Chart(own).mark_line(strokeWidth=2.5, color=PALETTE[0])
    crash = alt.Chart(own[own["crashed"]]).mark_point(
        shape="cross", angle=45, size=90, filled=True, color=ALARM, opacity=1
    )
    return alt.layer(
        others.encode(x, y, detail="line:N", opacity=shade.legend(None)),
        mine.encode(x, y),
        crash.encode(x, y),
    ).properties(width=width, height=280, title=title)


def seed_figures(
    trained: Mapping[str, Mapping[int, pd.DataFrame]], baselines: Mapping[str, pd.DataFrame]
) -> Sequence[Figure]:
    """Score against collisions, a point for each training and each fair rule."""
    rows = [
        _point(table, split, name, label(name), f"seed {seed}")
        for name, seeds in trained.items()
        for seed, table in seeds.items()
        for split in ("test", "dense")
    ]
    rows += [
        _point(baselines[name], split, name, label(name), "")
        for name in BASELINES
        if name.startswith(RULE) and name in baselines
        for split in ("test", "dense")
    ]
    if not trained:
        return []
    points = pd.DataFrame(rows)
    names = [*trained, *(name for name in baselines if name in set(points["name"]))]
    panels = [
        _scatter(points[points["split"] == split], names, title)
        for split, title in (("test", "Test"), ("dense", "Dense test"))
    ]
    return [
        Figure(
            "score_collisions",
            "Score against collisions",
            "A point is one training, or a rule that has the same sensor; better is up and left. "
            "A policy that scores by risking more lies to the right.",
            alt.hconcat(*panels, spacing=30),
        )
    ]


def _point(
    table: pd.DataFrame, split: str, name: str, strategy: str, seed: str
) -> dict[str, object]:
    mine = table[table["split"] == split]
    return {
        "split": split,
        "name": name,
        "strategy": strategy,
        "seed": seed,
        "score": float(mine["score"].mean()),
        "collisions": 100.0 * float(mine["collided"].mean()),
    }


def _scatter(points: pd.DataFrame, names: Sequence[str], title: str) -> alt.Chart:
    chart: alt.Chart = (
        alt.Chart(points)
        .mark_point(filled=True, size=80, opacity=0.85)
        .encode(
            # As many ticks as the scale is rounded to, so that it ends with one.
            alt.X("collisions:Q").title("collisions, % of drives").scale(nice=5).axis(tickCount=5),
            alt.Y("score:Q").title("score").scale(zero=False, nice=6).axis(tickCount=6),
            colours(names),
            tooltip=["strategy:N", "seed:N", "score:Q", "collisions:Q"],
        )
        .properties(width=PAGE // 2 - 60, height=240, title=title)
    )
    return chart


def training_figures(steps: pd.DataFrame) -> Sequence[Figure]:
    """How far each update moved the policy: the approximate KL divergence, step by step.

    steps: with columns clipping, seed, step and kl.
    """
    known = steps[np.isfinite(steps["kl"])]
    if known.empty:
        return []
    width = max(1, int(known["step"].max() // 120))
    table = known.assign(
        step=(known["step"] // width) * width, strategy=known["clipping"].map(label)
    )
    keys = ["clipping", "strategy", "seed", "step"]
    table = (
        table.groupby(keys, as_index=False)["kl"].max().assign(kl=lambda t: t["kl"].clip(_LEAST_KL))
    )
    chart = (
        alt.Chart(table)
        .mark_line(strokeWidth=1, opacity=0.7)
        .encode(
            alt.X("step:Q", title="optimizer step", axis=alt.Axis(format=",d", tickCount=6)),
            alt.Y("kl:Q", title="approximate KL divergence", scale=_LOG, axis=_POWERS),
            colours(list(dict.fromkeys(table["clipping"]))),
            detail="seed:N",
            tooltip=["strategy:N", "seed:N", "step:Q", "kl:Q"],
        )
        .properties(width=PAGE - 60, height=240)
    )
    return [
        Figure(
            "policy_kl",
            "How far the policy moved",
            "The approximate KL divergence of a minibatch's policy from the one that drove its "
            f"rollout, a line for each seed: the largest of every {width} steps.",
            chart,
        )
    ]
