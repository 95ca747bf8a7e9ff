"""`gradclip-compare`: the same budget, data and seeds for each strategy; then a report."""

from __future__ import annotations

import os
import shlex
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from apps.cli import command

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from apps.application import Application, DataModule, Evaluation
    from apps.report.results import Results, Run


def run(config: DictConfig) -> None:
    """Train every strategy with every seed, score the baselines, write the report."""
    from apps.baselines import score_baselines
    from apps.compose import given, named
    from apps.configuration import whole_number
    from apps.fit import build
    from apps.grid import check, plan, plan_sweep, seeds
    from apps.report.page import write_report
    from apps.report.records import read_records
    from apps.run_folder import new_folder

    config = named(config)
    seeds(config.seeds)
    jobs = os.cpu_count() or 1 if config.jobs is None else whole_number(config, "jobs", 1)
    root = Path(str(config.output_dir or new_folder(Path("reports"), config.app.name)))
    overrides = given()
    planned, swept = plan(config, overrides, root), plan_sweep(config, overrides, root)
    parts = build(planned[0].config)
    check(planned + swept, overrides, parts.data.description)
    print(f"{parts.data.account}\nreport folder: {root}", flush=True)
    # First, since it is they who refuse a series too short for them.
    print("baselines ...", flush=True)
    baselines = score_baselines(parts.application, parts.data, root / "baselines")
    runs = _train(planned + swept, root, jobs)
    results = _results(config, parts.application, runs, baselines, parts.data)
    predictions = _predictions(root, runs[: len(planned)], baselines)
    figures = [
        *parts.application.figures(parts.data, predictions),
        *parts.application.training_figures(parts.data, read_records(results, root)),
    ]
    tables = parts.application.tables(parts.data, predictions)
    report = write_report(results, root, figures, tables)
    _print_summary(results, root)
    print(f"report: {report}")


def _train(planned: list[Any], root: Path, jobs: int) -> list[Run]:
    """Make the runs and tell of each as it ends; the runs in the order of the plan."""
    from apps.grid import as_run, run_all

    done: dict[Path, Run] = {}
    print(f"{len(planned)} runs, {jobs} at a time", flush=True)
    for number, (item, metrics) in enumerate(run_all(planned, jobs), start=1):
        run = done[item.path] = as_run(item, metrics, root)
        clipped = "" if run.clip_rate is None else f"clipped {run.clip_rate:6.1%}"
        note = f"  {run.error}" if run.error else ""
        print(
            f"[{number:>3}/{len(planned)}] {item.label}  {run.status:<9}  {clipped}  "
            f"{run.seconds:.0f} s{note}",
            flush=True,
        )
    return [done[item.path] for item in planned]


def _results(
    config: DictConfig,
    application: Application,
    runs: list[Run],
    baselines: dict[str, Evaluation],
    data: DataModule,
) -> Results:
    from omegaconf import OmegaConf

    from apps.environment import environment
    from apps.grid import as_sweep
    from apps.report.results import Results

    primary = next(m for m in application.metrics if m.name == application.metric)
    return Results(
        app=config.app.name,
        title=application.title,
        metric=application.metric,
        direction=primary.direction,
        metrics=list(application.metrics),
        runs=[run for run in runs if run.value is None],
        baselines={name: dict(evaluation.metrics) for name, evaluation in baselines.items()},
        sweep=as_sweep(config, [run for run in runs if run.value is not None]),
        config=OmegaConf.to_container(config, resolve=True),  # type: ignore[arg-type]
        command=shlex.join(["gradclip-compare", *_command_line()]),
        created=datetime.now().astimezone().isoformat(timespec="seconds"),
        environment=environment(),
        notes=[data.account, *application.notes],
    )


def _command_line() -> list[str]:
    return [argument for argument in sys.argv[1:] if not argument.startswith("hydra.searchpath=")]


def _predictions(root: Path, runs: list[Run], baselines: dict[str, Evaluation]) -> dict[str, Any]:
    """Predictions by name: the first finished run of each strategy, and the baselines."""
    from apps.fit import read_predictions
    from apps.run_folder import RunFolder

    found: dict[str, Any] = {}
    for run in runs:
        predictions = read_predictions(RunFolder(root / run.run_dir))
        if run.clipping not in found and run.status == "completed" and predictions is not None:
            found[run.clipping] = predictions
    return found | {name: evaluation.predictions for name, evaluation in baselines.items()}


def _print_summary(results: Results, root: Path) -> None:
    from apps.report.records import read_records
    from apps.report.words import headline

    print()
    for sentence in headline(results, read_records(results, root)):
        print(f"- {sentence}")


def main() -> None:
    """Entry point of the console script."""
    command("compare", run)


if __name__ == "__main__":
    main()
