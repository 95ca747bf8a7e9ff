"""Several drives of one scenario as a GIF, one above the other."""

from __future__ import annotations

import io
from collections.abc import Mapping

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw

from apps.driving.traffic import DECISION_SECONDS, LANE_WIDTH, LENGTH, WIDTH
from apps.report.charts.theme import ALARM, GREY, PALETTE

SPEED = 2  # times as fast as life
BEHIND, AHEAD = 30.0, 80.0  # m, around the driver's car
_SCALE = 7.0  # pixels in a metre
_TITLE = 18  # pixels above each road
OTHERS = "#9aa1ab"


def gif(drives: Mapping[str, pd.DataFrame], lanes: int) -> bytes:
    """A GIF of drives as `replay` records them, by the name above each.

    A frame for each decision; the road moves with the driver's car, and stays where a drive ended.
    """
    moments = {name: [now for _, now in drive.groupby("time")] for name, drive in drives.items()}
    count = max(map(len, moments.values()))
    frames = [
        _frame({n: m[min(t, len(m) - 1)] for n, m in moments.items()}, lanes) for t in range(count)
    ]
    file = io.BytesIO()
    wait = round(1000 * DECISION_SECONDS / SPEED)
    frames[0].save(
        file, "GIF", save_all=True, append_images=frames[1:], duration=wait, loop=0, optimize=True
    )
    return file.getvalue()


def _frame(now: Mapping[str, pd.DataFrame], lanes: int) -> Image.Image:
    road = round(lanes * LANE_WIDTH * _SCALE)
    size = round((BEHIND + AHEAD) * _SCALE), len(now) * (road + _TITLE) + 1
    image = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(image)
    for place, (name, cars) in enumerate(now.items()):
        top = place * (road + _TITLE)
        time, crashed = float(cars["time"].iloc[0]), bool(cars["crashed"].iloc[0])
        draw.text((4, top + 3), f"{name}, {time:g} s{', crash' if crashed else ''}", fill="black")
        for line in range(lanes + 1):
            y = top + _TITLE + round(line * LANE_WIDTH * _SCALE)
            draw.line((0, y, size[0], y), fill=GREY)
        own = float(cars.loc[cars["car"] == 0, "x"].iloc[0])
        for car, x, lane in cars[["car", "x", "lane"]].itertuples(index=False):
            colour = OTHERS if car else (ALARM if crashed else PALETTE[0])
            middle = np.array([x - own + BEHIND, (lane + 0.5) * LANE_WIDTH]) * _SCALE
            half = np.array([LENGTH, WIDTH]) * _SCALE / 2
            low, high = middle - half + (0, top + _TITLE), middle + half + (0, top + _TITLE)
            draw.rectangle((*low, *high), fill=colour)
    return image.quantize(16)
