"""`gradclip-evaluate`: a trained run's held-out score again, beside the baselines."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from apps.cli.command import command

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from apps.run.experiment import Experiment
    from apps.run.folder import RunFolder


def run(config: DictConfig) -> None:
    """Load the best checkpoint, score it on the test split and print the table."""
    from apps.cli.compose import with_decoder
    from apps.cli.schema import EvaluateSettings, check
    from apps.cli.trust import read_trust
    from apps.errors import UserError
    from apps.report.page.terminal import scores_text
    from apps.run.baseline_scores import score_baselines
    from apps.run.experiment import Experiment
    from apps.run.folder import RunFolder
    from apps.run.folds import evaluate_run

    check(config, EvaluateSettings)
    folder = RunFolder.open(Path(str(config.run)), app=config.app)
    folder.newest.load_checkpoint(folder.newest.best)
    run_config = with_decoder(folder.config(read_trust(config.trust)), config.get("decoder"))
    experiment = Experiment(run_config)
    if config.test_split != "test":
        _examine(experiment, folder, config.test_split, baselines=config.baselines)
        return
    evaluation = evaluate_run(experiment, folder)
    if evaluation is None:
        raise UserError(f"run={folder.path}: not all of its folds have a checkpoint")
    scores = {folder.path.name: evaluation.metrics}
    if config.baselines:
        baselines = score_baselines(experiment, folder.path / "baselines")
        scores |= {name: evaluation.metrics for name, evaluation in baselines.items()}
    print(experiment.data.account)
    print(scores_text(scores, experiment.application.metrics))
    for note in experiment.application.notes:
        print(note)


def _examine(experiment: Experiment, folder: RunFolder, split: str, *, baselines: bool) -> None:
    """Print the scores on a split that is not the test."""
    from apps.report.page.terminal import scores_text

    application = experiment.application
    task = experiment.best_task(folder.newest)
    found = application.examine(split, task, experiment.data, baselines=baselines)
    scores = {name: evaluation.metrics for name, evaluation in found}
    known = {name for values in scores.values() for name in values}
    print(scores_text(scores, [metric for metric in application.metrics if metric.name in known]))


def main() -> None:
    """Entry point of the console script."""
    command("evaluate", run)


if __name__ == "__main__":
    main()
