"""The picture of the README: one training with bad batches, unclipped and clipped.

    python docs/pictures/spike.py

A small GRU learns to continue a sine; at five steps the batch is 30 times too large. Both runs
have the same weights, batches and learning rate.
"""

from __future__ import annotations

import altair as alt
import pandas as pd
import torch
from style import BLUE, IMAGES, ORANGE, write
from torch import Tensor, nn

from gradclip_core import ClipNorm, Clipper, NoClip

LOG = alt.Axis(tickCount=5, format=".0e")
STEPS, BAD = 240, (60, 95, 130, 165, 200)


class Forecaster(nn.Module):
    """The next value of each series."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.GRU(1, 16, batch_first=True)
        self.head = nn.Linear(16, 1)

    def forward(self, series: Tensor) -> Tensor:
        """Forecasts of the last value from those before it; (B, T, 1) -> (B, 1)."""
        states, _ = self.encoder(series[:, :-1])
        out: Tensor = self.head(states[:, -1])
        return out


def batch(step: int) -> Tensor:
    """32 sines of random phase and length; at the bad steps 30 times too large."""
    generator = torch.Generator().manual_seed(step)
    start, speed = torch.rand(2, 32, 1, generator=generator)
    series = torch.sin(6.3 * start + (0.2 + 0.5 * speed) * torch.arange(25)).unsqueeze(-1)
    return 30 * series if step in BAD else series


def train(clipper: Clipper, label: str) -> list[dict[str, object]]:
    """The gradient norm that the optimizer saw and the loss on a clean batch, step by step."""
    torch.manual_seed(0)
    model = Forecaster()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    clean, rows = batch(-1), []
    for step in range(STEPS):
        series = batch(step)
        optimizer.zero_grad()
        nn.functional.mse_loss(model(series), series[:, -1]).backward()
        report = clipper(model)
        optimizer.step()
        with torch.no_grad():
            loss = nn.functional.mse_loss(model(clean), clean[:, -1])
        row = {"run": label, "step": step}
        rows.append(row | {"panel": "norm", "value": report.clipped_norm.item()})
        rows.append(row | {"panel": "loss", "value": loss.item()})
    return rows


def main() -> None:
    """Train twice and draw."""
    rows = train(NoClip(), "unclipped") + train(ClipNorm(0.5), "ClipNorm(0.5)")
    table = pd.DataFrame(rows)
    colours = alt.Scale(domain=["unclipped", "ClipNorm(0.5)"], range=[ORANGE, BLUE])

    def panel(name: str, title: str) -> alt.Chart:
        return (
            alt.Chart(table[table["panel"] == name], width=340, height=190)
            .mark_line(strokeWidth=1.4)
            .encode(
                x=alt.X("step:Q", title="step"),
                y=alt.Y("value:Q", title=title, scale=alt.Scale(type="log"), axis=LOG),
                color=alt.Color("run:N", title=None, scale=colours),
            )
        )

    charts = panel("norm", "gradient norm"), panel("loss", "loss")
    write(alt.hconcat(*charts), IMAGES / "spike.svg")


if __name__ == "__main__":
    main()
