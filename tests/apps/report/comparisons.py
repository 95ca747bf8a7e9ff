"""Builds run folders and results as a comparison leaves them."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd

from apps.report import Grid, Metric, Results, Run

NUM_STEPS, NUM_EPOCHS = 600, 12
METRICS = [
    Metric("loss", "Quantile loss", "%", "min", 2),
    Metric("accuracy", "Accuracy", "", "max", 3),
    Metric("coverage_80", "Coverage", "%", "target", 1, 80.0),
]
PARAMETERS = np.array(["rnn.weight_hh_l0", "rnn.weight_ih_l0", "head.weight", "head.bias"])


def write_run(folder: Path, clipping: str, seed: int, *, diverged: bool = False) -> float:
    """Write steps.csv and epochs.csv; return the share of steps clipped."""
    rng = np.random.default_rng(seed)
    steps = NUM_STEPS // 2 if diverged else NUM_STEPS
    step = np.arange(steps)
    norm = np.exp(rng.normal(-0.5, 0.6, steps)) + 3 * np.exp(-step / 60)
    norm[rng.integers(0, steps, 3)] *= 40
    if diverged:
        norm[-40:] *= np.exp(np.arange(40) / 4)
        norm[-3:] = [np.inf, np.nan, np.nan]
    threshold = np.full(steps, {"none": np.inf, "global_norm": 100.0}.get(clipping, 1.0))
    if clipping == "autoclip":
        threshold = pd.Series(norm).expanding().quantile(0.5).to_numpy()
    clipped = norm > threshold
    loss = 2 * np.exp(-step / 150) + 0.4 + rng.normal(0, 0.05, steps)
    if diverged:
        loss[-40:] *= np.exp(np.arange(40) / 3)
    with np.errstate(invalid="ignore"):
        coefficient = np.minimum(1, threshold / norm)
        clipped_norm = norm * coefficient
    folder.mkdir(parents=True)
    pd.DataFrame(
        {
            "step": step,
            "epoch": step * NUM_EPOCHS // NUM_STEPS,
            "loss": loss,
            "lr": 1e-3,
            "norm": norm,
            "clipped_norm": clipped_norm,
            "coefficient": coefficient,
            "threshold": threshold,
            "clipped": clipped,
            "skipped": ~np.isfinite(norm),
            "clip_rate": clipped,
            "worst_parameter": rng.choice(PARAMETERS, steps, p=[0.6, 0.2, 0.15, 0.05]),
        }
    ).to_csv(folder / "steps.csv", index=False)
    last = (np.arange(NUM_EPOCHS) + 1) * NUM_STEPS // NUM_EPOCHS - 1
    last = last[last < steps]
    pd.DataFrame(
        {
            "epoch": np.arange(last.size),
            "step": last,
            "train_loss": loss[last],
            "val_loss": loss[last] * 1.1 + 0.02 * seed,
        }
    ).to_csv(folder / "epochs.csv", index=False)
    return float(clipped.mean())


def make_run(output_dir: Path, clipping: str, seed: int, *, status: str = "completed") -> Run:
    """A run and, unless it failed, its folder."""
    run_dir = f"runs/{clipping}-{seed}"
    rate = None
    if status != "failed":
        rate = write_run(output_dir / run_dir, clipping, seed, diverged=status == "diverged")
    gain = {"autoclip": 0.2, "zclip": 0.01 * (-1) ** seed}.get(clipping, 0.0)
    test = {
        "loss": 3.6 + 0.05 * seed - gain,
        "accuracy": 0.81 + 0.004 * seed + gain / 50,
        "coverage_80": 77.0 + seed,
    }
    return Run(
        clipping=clipping,
        seed=seed,
        optimizer="adamw",
        lr=1e-3,
        status=status,  # type: ignore[arg-type]
        test=test if status == "completed" else {},
        diverged_at=297 if status == "diverged" else None,
        error="Traceback:\n<b>boom</b> | </script>" if status == "failed" else None,
        seconds=41.5 + seed,
        steps=0 if status == "failed" else NUM_STEPS,
        clip_rate=rate,
        run_dir=run_dir,
        command=f"gradclip-train app=demo clipping={clipping} seed={seed}",
    )


def make_sweep() -> Grid:
    """Unclipped runs diverge from 0.3 on; clipped ones never."""
    runs = []
    for clipping in ("none", "global_norm", "autoclip"):
        for value in (0.01, 0.03, 0.1, 0.3, 1.0):
            for seed in (1, 2):
                bad = clipping == "none" and value >= 0.3
                score = 3.6 + abs(math.log10(value / 0.1)) * (1 if clipping == "none" else 0.6)
                runs.append(
                    Run(
                        clipping=clipping,
                        seed=seed,
                        optimizer="sgd",
                        lr=value,
                        status="diverged" if bad else "completed",
                        test={} if bad else {"loss": score + 0.03 * seed},
                        diverged_at=12 if bad else None,
                        run_dir=f"sweep/{clipping}-{value}-{seed}",
                        command=f"gradclip-train optimizer=sgd optimizer.lr={value}",
                        settings={"optimizer.lr": value},
                        val_loss=None if bad else score,
                    )
                )
    return Grid(runs, {"optimizer.lr": [0.01, 0.03, 0.1, 0.3, 1.0]}, [], ["optimizer=sgd"])


def make_results(runs: list[Run], **changes: object) -> Results:
    """Results with the demo's metrics."""
    fields: dict[str, object] = {
        "app": "demo",
        "title": "Demo load",
        "metric": "loss",
        "direction": "min",
        "metrics": METRICS,
        "grid": Grid(runs),
        "config": {"app": {"name": "demo"}, "seed": 1, "path": Path("data")},
        "command": "gradclip-compare app=demo 'clipping=[none,global_norm,autoclip,zclip]' seeds=3",
        "created": "2026-11-22T10:00:00+00:00",
        "environment": {"torch": "2.13.0", "device": "cpu", "threads": "2"},
    }
    return Results(**{**fields, **changes})  # type: ignore[arg-type]


def run(clipping: str, seed: int, loss: float | None, **changes: object) -> Run:
    """A run that has a score but no folder."""
    fields: dict[str, object] = {
        "clipping": clipping,
        "seed": seed,
        "optimizer": "sgd",
        "lr": 0.1,
        "status": "completed",
        "test": {"loss": loss},
        "steps": 100,
        "clip_rate": 0.0,
    }
    return Run(**{**fields, **changes})  # type: ignore[arg-type]


def two(ours: list[float | None], theirs: list[float | None], **changes: object) -> Results:
    """Unclipped runs and a strategy "clip", by their losses per seed."""
    runs = [run("none", seed, loss) for seed, loss in enumerate(theirs)]
    runs += [run("clip", seed, loss, **changes) for seed, loss in enumerate(ours)]
    return make_results(runs)
