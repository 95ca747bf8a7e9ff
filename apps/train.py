"""`gradclip-train`: train one model and score it on held-out data."""

from __future__ import annotations

import contextlib
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from apps.cli.command import command
from apps.errors import Terminated

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from apps.run.experiment import Experiment


def run(config: DictConfig) -> None:
    """Train a new run, or continue an interrupted one; the same command does that, too."""
    from apps.cli.compose import chosen, is_multirun, named
    from apps.cli.schema import RunSettings, check
    from apps.errors import UserError
    from apps.run.experiment import Experiment
    from apps.run.job import leave_job
    from apps.run.locking import new_folder
    from apps.run.trainer import bare_trainer, refuse_processes

    config = named(config)
    check(config, RunSettings)
    if is_multirun():
        refuse_processes(bare_trainer(config), config, "--multirun trains")
        leave_job()
    if config.resume is not None:
        _resume(Path(str(config.resume)), config.trust)
        return
    if config.trust is not None:
        raise UserError("trust: serves resume alone; what the command line names is trusted")
    experiment = Experiment(config)
    if config.run_dir is not None:
        _train(experiment, Path(str(config.run_dir)))
        return
    experiment.check()
    name = f"{chosen('clipping')}-seed{config.seed}"
    with new_folder(Path("runs") / config.app.name, name) as path:
        _train(experiment, path)


def _resume(path: Path, trust: object) -> None:
    """Go on with the run in a folder, or tell how it ended."""
    from apps.cli.compose import given
    from apps.cli.trust import read_trust
    from apps.errors import UserError
    from apps.run.experiment import Experiment
    from apps.run.folder import RunFolder

    others = [item for item in given() if not item.startswith(("resume=", "trust="))]
    if others:
        raise UserError(
            f"{others[0]}: a resumed run keeps its own configuration; allowed beside resume: trust"
        )
    folder = RunFolder.open(path, "resume")
    metrics = folder.metrics()
    if metrics is None:
        config = folder.config(read_trust(trust))
        _train(Experiment(config, is_begun=folder.begun), path, resume=True)
    else:
        _print_end(metrics, path)


def _train(experiment: Experiment, path: Path, *, resume: bool = False) -> None:
    """Train in a folder, go on where it holds this very run, and tell how it ended."""
    from apps.run.folder import RunFolder
    from apps.run.folds import train_run

    folder = RunFolder(path)
    resume = resume or folder.is_of(experiment.config)
    try:
        metrics = train_run(experiment, path, resume=resume)
    except (KeyboardInterrupt, Terminated, OSError):
        if folder.config_file.is_file():
            with contextlib.suppress(OSError):  # there may be nobody left to read it
                print(f"to continue: gradclip-train resume={shlex.quote(str(path))}", flush=True)
        raise
    _print_end(metrics, path)


def _print_end(metrics: dict[str, Any], path: Path) -> None:
    print(describe(metrics))
    print(f"run folder: {path}")


STILL_FALLING = "the validation loss still fell at the end: more training.epochs may score better"


def describe(metrics: dict[str, Any]) -> str:
    """The end of a run in a few lines."""
    end = metrics["status"]
    if metrics["diverged_at"] is not None:
        end += f" at step {metrics['diverged_at']}"
    if metrics["error"]:
        end += f" ({metrics['error']})"
    scores = "  ".join(
        f"{name} {'n/a' if value is None else format(value, '.4g')}"
        for name, value in metrics["test"].items()
    )
    more = f"\n{STILL_FALLING}" if metrics.get("falling") else ""
    return (
        f"{end} after {metrics['steps']} steps, {metrics['seconds']:.0f} s; "
        f"clipped {metrics['clip_rate']:.1%}, skipped {metrics['skipped']}\n"
        f"held-out test: {scores or 'none: no checkpoint was saved'}{more}"
    )


def main() -> None:
    """Entry point of the console script."""
    command("train", run)


if __name__ == "__main__":
    main()
