"""`gradclip-predict`: apply a trained run to the user's own file."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING

from apps.cli.command import command

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from apps.base.task import Task
    from apps.run.experiment import Experiment
    from apps.run.folder import RunFolder

OPTIONS = ("ego", "units", "frame_rate")  # of a file; whichever an application takes


def run(config: DictConfig) -> None:
    """Read the input, predict with the best checkpoint, write the output as CSV.

    One text in the place of a file is answered on the spot.
    """
    from apps.cli.compose import with_decoder
    from apps.cli.schema import PredictSettings, check
    from apps.cli.trust import read_trust
    from apps.errors import UserError
    from apps.report.model.spreadsheet import write_csv
    from apps.run.experiment import Experiment
    from apps.run.folder import RunFolder

    check(config, PredictSettings)
    run = RunFolder.open(Path(str(config.run)), app=config.app)
    text, files, raw = config.text, _files(config), config.raw
    options = {key: config[key] for key in OPTIONS if config[key] is not None}
    note = _check_divergence(run)
    folder = run.newest
    folder.load_checkpoint(folder.best)
    config = with_decoder(folder.config(read_trust(config.trust)), config.get("decoder"))
    description = folder.description()
    experiment = Experiment(config, description)
    application, task = experiment.application, _task(experiment, folder)
    if files is None:
        for key in options:
            raise UserError(f"{key}: says something of a file; leave it out beside text")
        answer, account = application.predict_text(task, description, str(text))
        print(f"{answer.iloc[0].dropna().to_string()}\n{account}{note}")
        return
    source, target = files
    try:
        predictions, account = application.predict_with(task, description, source, options)
    except UserError as error:
        if "data." not in str(error):
            raise
        kept = "data.* are options of the training, which the run keeps: mend the file"
        raise UserError(f"{error}; {kept}") from None
    write_csv(predictions, target.resolve(), raw=raw, float_format="%.6g")
    print(f"{account}{note}\n{len(predictions)} rows written to {target}")


def _task(experiment: Experiment, folder: RunFolder) -> Task:
    """The trained task; UserError where the run's notes on its data do not describe any."""
    from apps.errors import UserError

    try:
        return experiment.best_task(folder)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise UserError(
            f"{folder.description_file}: does not describe the data of this run "
            f"({type(error).__name__}: {error}); restore it, or train again"
        ) from error


def _check_divergence(run: RunFolder) -> str:
    """UserError for a run whose network predicts nothing; of one that has overfitted, a line more.

    Overfitted: the losses are finite, and the kept epoch's is below that of the untrained network.
    """
    from apps.errors import UserError

    metrics = run.metrics()
    if metrics is None or metrics["status"] != "diverged":
        return ""
    said = f"diverged at step {metrics['diverged_at']}"
    said += f" ({metrics['error']})" if metrics["error"] else ""
    losses = run.newest.validation_losses()
    if len(losses) > 1 and all(map(math.isfinite, losses)) and min(losses[1:]) < losses[0]:
        kept = "its best epoch, which was better than untrained, has predicted"
        return f"\n{run.path}: {said}; {kept}"
    raise UserError(
        f"run={run.path}: {said}; its forecasts are worth nothing; choose a run that has completed"
    )


def _files(config: DictConfig) -> tuple[Path, Path] | None:
    """The file to read and the one to write, None beside a text; UserError if one cannot be."""
    from omegaconf import OmegaConf

    from apps.cli.schema import refuse_device
    from apps.errors import UserError

    if config.text is not None:
        if not all(OmegaConf.is_missing(config, key) for key in ("input", "output")):
            raise UserError("text: is answered on the spot; leave out input and output, or text")
        return None
    source, target = Path(str(config.input)), Path(str(config.output))
    if not source.exists():
        raise UserError(f"input={source}: no such file")
    refuse_device("input", source)
    if target.is_dir():
        raise UserError(f"output={target}: is a folder")
    if target.is_symlink() and not target.exists():
        raise UserError(f"output={target}: is a link to nothing ({target.readlink()})")
    refuse_device("output", target)
    if target.exists() and not config.overwrite:
        raise UserError(f"output={target}: exists; choose another file or add overwrite=true")
    if target.exists() and target.samefile(source):
        raise UserError(f"output={target}: is the input")
    _check_folder(target)
    return source, target


def _check_folder(target: Path) -> None:
    """UserError unless a file can be made in the folder of a path."""
    from apps.errors import UserError

    folder = target.absolute().parent
    if not folder.is_dir():
        raise UserError(f"output={target}: no such folder: {folder}")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UserError(f"output={target}: nothing can be written into {folder}")


def main() -> None:
    """Entry point of the console script."""
    command("predict", run)


if __name__ == "__main__":
    main()
