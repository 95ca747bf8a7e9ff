"""`gradclip-compare`: the same budget, data and seeds for each strategy; then a report."""

from __future__ import annotations

import functools
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from apps.cli.command import command

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from apps.grid.comparison import Comparing
    from apps.grid.launcher import Launcher
    from apps.report.model.results import Results


def run(arguments: Sequence[str], config: DictConfig) -> None:
    """Make the comparison of every application, one after the other, and their reports."""
    from apps.cli.command import unknown_app
    from apps.cli.compose import named
    from apps.cli.help import all_apps
    from apps.cli.instantiate import instantiate, whole_number
    from apps.cli.schema import CompareSettings, check
    from apps.errors import UserError
    from apps.grid.launcher import Launcher
    from apps.grid.overrides import apps_of
    from apps.run.job import leave_job
    from apps.run.locking import new_folder

    leave_job()
    check(named(config), CompareSettings)
    jobs = None if config.jobs is None else whole_number(config, "jobs", 1)
    launcher: Launcher = instantiate(config, "launcher", Launcher)
    apps = apps_of(arguments) or [named(config).app.name]
    for app in apps:
        if app not in all_apps():
            raise UserError(unknown_app(app))
    if config.output_dir is not None:
        _compare_all(arguments, apps, Path(str(config.output_dir)), launcher, jobs)
        return
    with new_folder(Path("reports"), "-".join(apps)) as root:
        _compare_all(arguments, apps, root, launcher, jobs)


def _compare_all(
    arguments: Sequence[str], apps: Sequence[str], root: Path, launcher: Launcher, jobs: int | None
) -> None:
    from apps.grid.checks import refuse_foreign
    from apps.grid.comparison import prepare
    from apps.report.page.front import write_front
    from apps.run.locking import alone

    folders = {app: root / app if len(apps) > 1 else root for app in apps}
    # All of them first: nothing is written before everything has been checked.
    prepared = [
        prepare(arguments, app, folder, here=launcher.here) for app, folder in folders.items()
    ]
    for place in {root, *folders.values()}:
        refuse_foreign(place)
    home = "../report.html" if len(apps) > 1 else ""
    results = []
    for one in prepared:
        with alone(one.folder, "output_dir"):
            results.append(_compare(one, launcher, jobs, home))
    if home:
        print(f"\nfront page: {write_front(root, results)}")


def _compare(comparing: Comparing, launcher: Launcher, jobs: int | None, home: str) -> Results:
    """Score the baselines, train every strategy with every seed, write the report."""
    from apps.grid.comparison import predictions, score_baselines
    from apps.replications import repeat
    from apps.report.model.step_records import read_records
    from apps.report.page.report import write_report

    experiment, root = comparing.experiment, comparing.folder
    print("\n".join([*comparing.notes, f"report folder: {root}"]), flush=True)
    # First, since it is they who refuse a series too short for them.
    if comparing.shares_data:
        print("baselines ...", flush=True)
    baselines = score_baselines(comparing)
    results = comparing.results(_train(comparing, launcher, jobs), baselines)
    shown = results.shown
    by_seed = predictions(shown, root)
    classical = {name: evaluation.predictions for name, evaluation in baselines.items()}
    found = {name: next(iter(seeds.values())) for name, seeds in by_seed.items()} | classical
    data = comparing.data_of(shown)
    figures = [
        *experiment.application.figures(data, found),
        *experiment.application.seed_figures(by_seed, classical),
        *experiment.application.training_figures(data, read_records(shown, root)),
    ]
    tables = [
        *experiment.application.tables(data, found),
        *experiment.application.seed_tables(by_seed, classical),
    ]
    known = repeat(comparing.config.choices.get("experiment"), results, root)
    if known is not None:
        figures, tables = [*known.figures, *figures], [known.table, *tables]
    report = write_report(results, root, figures, tables, home)
    _print_summary(results, root, known.sentences if known else [])
    print(f"report: {report}", flush=True)
    return results


def _train(
    comparing: Comparing, launcher: Launcher, at_once: int | None
) -> dict[Path, dict[str, Any]]:
    """Make the runs and tell of each as it ends; their metrics by folder."""
    from apps.grid.checks import set_aside
    from apps.grid.jobs import as_job, default_at_once

    for path, kept in set_aside(comparing.planned):
        print(f"{path}: made by other code; kept as {kept.name}, and made anew", flush=True)
    planned = {str(run.path): run for run in comparing.planned}
    jobs = [as_job(run, launcher) for run in planned.values()]
    if at_once is None:
        at_once = default_at_once(comparing.planned[0], launcher)
    print(f"{len(jobs)} runs, {at_once or 'any number'} at a time", flush=True)
    done, ends = {}, launcher.make_all(jobs, at_once, comparing.folder / "launcher")
    for number, (job, metrics) in enumerate(ends, start=1):
        item = planned[job.path]
        done[item.path] = metrics
        clipped = f"clipped {metrics['clip_rate']:6.1%}" if "clip_rate" in metrics else ""
        note = f"  {metrics['error']}" if metrics.get("error") else ""
        print(
            f"[{number:>3}/{len(jobs)}] {item.label}  {metrics['status']:<9}  {clipped}  "
            f"{metrics.get('seconds', 0):.0f} s{note}",
            flush=True,
        )
    return done


def _print_summary(results: Results, root: Path, more: list[str]) -> None:
    from apps.report.model.step_records import read_records
    from apps.report.page.findings import headline

    print()
    for sentence in [*headline(results, read_records(results.shown, root)), *more]:
        print(f"- {sentence}")


def main() -> None:
    """Entry point of the console script."""
    from apps.grid.experiment import with_experiment

    arguments = sys.argv[1:] = with_experiment(sys.argv[1:])
    command("compare", functools.partial(run, arguments), _first_point)


def _first_point(arguments: list[str]) -> list[str]:
    from apps.grid.overrides import first_point

    return first_point(arguments)


if __name__ == "__main__":
    main()
