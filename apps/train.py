"""`gradclip-train`: train one model and score it on held-out data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from apps.cli.command import command

if TYPE_CHECKING:
    from omegaconf import DictConfig


def run(config: DictConfig) -> None:
    """Train a new run, or continue an interrupted one."""
    from apps.cli.compose import chosen, given, is_multirun, named
    from apps.cli.trust import read_trust
    from apps.errors import UserError
    from apps.run.experiment import Experiment
    from apps.run.folder import RunFolder, new_folder
    from apps.run.folds import train_run
    from apps.run.job import leave_job
    from apps.run.trainer import bare_trainer, refuse_processes

    if is_multirun():
        refuse_processes(bare_trainer(named(config)), named(config), "--multirun trains")
        leave_job()
    if config.resume is None:
        if config.trust is not None:
            raise UserError("trust: serves resume alone; what the command line names is trusted")
        name = f"{chosen('clipping')}-seed{config.seed}"
        path = Path(str(config.run_dir or new_folder(Path("runs") / config.app.name, name)))
        metrics = _resumable(path, lambda: train_run(Experiment(named(config)), path))
    else:
        others = [item for item in given() if not item.startswith(("resume=", "trust="))]
        if others:
            raise UserError(
                f"{others[0]}: a resumed run keeps its own configuration; allowed beside resume: "
                "trust"
            )
        path = Path(str(config.resume))
        folder = RunFolder.open(path, "resume")
        trust = read_trust(config.trust)
        metrics = folder.metrics() or _resumable(
            path, lambda: train_run(Experiment(folder.config(trust)), path, resume=True)
        )
    print(describe(metrics))
    print(f"run folder: {path}")


def _resumable(path: Path, train: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Train, and after an interrupt tell how to go on."""
    try:
        return train()
    except KeyboardInterrupt:
        print(f"to continue: gradclip-train resume={path}")
        raise


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
    return (
        f"{end} after {metrics['steps']} steps, {metrics['seconds']:.0f} s; "
        f"clipped {metrics['clip_rate']:.1%}, skipped {metrics['skipped']}\n"
        f"held-out test: {scores or 'none: no checkpoint was saved'}"
    )


def main() -> None:
    """Entry point of the console script."""
    command("train", run)


if __name__ == "__main__":
    main()
