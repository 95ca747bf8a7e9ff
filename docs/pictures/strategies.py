"""What each strategy does to norms, drawn by the clippers of its preset.

    python docs/pictures/strategies.py

For a fixed bound: the factor against the norm. For a threshold that learns: a sequence of norms
with spikes and a change of level, the threshold, and what was left.
"""

from __future__ import annotations

import altair as alt
import pandas as pd
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from style import BLUE, GREY, IMAGES, ORANGE, write
from torch import Tensor, nn

from apps import CONF
from apps.cli.command import search_path
from gradclip_core import Clipper

LOG = alt.Axis(tickCount=4, format="~g")
FIXED = {
    "value": 0.5,
    "value_asymmetric": 1.0,
    "value_tanh": 0.5,
    "value_tamed": 0.5,
    "global_norm": 1.0,
    "per_parameter_norm": 1.0,
    "per_group_norm": 1.0,
    "per_module_norm": 1.0,
    "block_rms": 1.0,
    "agc": 0.01,
    "soft": 1.0,
    "tanh": 1.0,
    "huber": 1.0,
    "normalize": 1.0,
    "skip": 10.0,
}
LEARNT = (
    "autoclip",
    "rolling_quantile",
    "rolling_median",
    "quantile_tracker",
    "ema",
    "zclip",
    "log_z",
    "spike_window",
    "adagc",
    "aggc",
    "spamp",
    "scheduled",
)
STEPS, SPIKES, FALL = 300, (140, 190, 260), 220


def preset(name: str) -> Clipper:
    """A fresh clipper of a preset."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("train", [f"clipping={name}", search_path("energy")])
    made: Clipper = instantiate(config.clipping, _convert_="all")
    return made


def clip(clipper: Clipper, gradient: Tensor) -> tuple[float, float]:
    """The norm after clipping and the threshold, for a parameter with this gradient."""
    weight = nn.Parameter(torch.ones_like(gradient))
    weight.grad = gradient.clone()
    report = clipper([("layer.weight", weight)])
    return report.clipped_norm.item(), report.threshold.item()


def draw_factor(name: str, bound: float) -> None:
    """Factor against norm, both of a gradient of one element."""
    size = bound * torch.logspace(-1.5, 1.5, 121)
    rows = [(n.item(), clip(preset(name), n.view(1, 1))[0] / n.item()) for n in size]
    table = pd.DataFrame(rows, columns=["norm", "factor"])
    norm = "size of an element" if name.startswith("value") else "norm"
    x = alt.X("norm:Q", title=norm, scale=alt.Scale(type="log", nice=False))
    line = (
        alt.Chart(table, width=300, height=130)
        .mark_line(color=BLUE, strokeWidth=2)
        .encode(x=x, y=alt.Y("factor:Q", title="factor", scale=alt.Scale(zero=True)))
    )
    limit = pd.DataFrame({"norm": [bound]})
    rule = alt.Chart(limit).mark_rule(color=GREY, strokeDash=[4, 3]).encode(x="norm:Q")
    write(rule + line, IMAGES / f"{name}.svg")


def draw_singular_values(name: str) -> None:
    """Singular values of noise with three outliers: as they are, clamped, and scaled as a whole."""
    noise = torch.randn(40, 40, generator=torch.Generator().manual_seed(0))
    left, values, right = torch.linalg.svd(noise)
    values = values / values[0]
    values[:3] = torch.tensor([4.0, 2.5, 1.5])
    weight = nn.Parameter(torch.zeros(40, 40))
    weight.grad = (left * values) @ right
    preset(name)([("layer.weight", weight)])
    lines = {"before": values, "clamped": torch.linalg.svdvals(weight.grad), "scaled": values / 4}
    table = pd.DataFrame(
        [
            (i + 1, line, v.item())
            for line, found in lines.items()
            for i, v in enumerate(found[:20])
        ],
        columns=["number", "line", "value"],
    )
    scale = alt.Scale(domain=list(lines), range=[GREY, BLUE, ORANGE])
    chart = (
        alt.Chart(table, width=300, height=130)
        .mark_line(point=alt.OverlayMarkDef(size=15), strokeWidth=1.5)
        .encode(
            x=alt.X("number:Q", title="singular value"),
            y=alt.Y("value:Q", title="size"),
            color=alt.Color("line:N", title=None, scale=scale, sort=None),
        )
    )
    write(chart, IMAGES / f"{name}.svg")


def norms() -> Tensor:
    """Calm norms that fall by half at one step, with three spikes."""
    generator = torch.Generator().manual_seed(0)
    found = torch.exp(0.25 * torch.randn(STEPS, generator=generator))
    found[FALL:] *= 0.5
    found[list(SPIKES)] *= 12
    return found


def draw_threshold(name: str) -> None:
    """Norms before and after, and the threshold, step by step."""
    clipper, rows = preset(name), []
    for step, norm in enumerate(norms()):
        after, threshold = clip(clipper, norm.view(1, 1))
        rows += [
            (step, "norm", round(norm.item(), 3)),
            (step, "threshold", round(threshold, 3) if threshold < float("inf") else None),
            (step, "clipped norm", round(after, 3)),
        ]
    table = pd.DataFrame(rows, columns=["step", "line", "value"])
    scale = alt.Scale(domain=["norm", "clipped norm", "threshold"], range=[GREY, BLUE, ORANGE])
    chart = (
        alt.Chart(table, width=460, height=150)
        .mark_line(strokeWidth=1.2)
        .encode(
            x=alt.X("step:Q", title="step"),
            y=alt.Y("value:Q", title="norm", scale=alt.Scale(type="log"), axis=LOG),
            color=alt.Color("line:N", title=None, scale=scale, sort=None),
        )
    )
    write(chart, IMAGES / f"{name}.svg")


def main() -> None:
    """Draw them all."""
    for name, bound in FIXED.items():
        draw_factor(name, bound)
    for name in LEARNT:
        draw_threshold(name)
    draw_singular_values("spectral")


if __name__ == "__main__":
    main()
