"""`gradclip-predict`: apply a trained run to the user's own file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from apps.cli.command import command

if TYPE_CHECKING:
    from omegaconf import DictConfig


def run(config: DictConfig) -> None:
    """Read the input, predict with the best checkpoint, write the output as CSV.

    One text in the place of a file is answered on the spot.
    """
    from apps.cli.compose import with_decoder
    from apps.cli.trust import read_trust
    from apps.run.experiment import Experiment
    from apps.run.folder import RunFolder

    folder = RunFolder.open(Path(str(config.run)), app=config.app).newest
    text, files = config.text, _files(config)
    folder.load_checkpoint(folder.best)
    config = with_decoder(folder.config(read_trust(config.trust)), config.get("decoder"))
    description = folder.description()
    experiment = Experiment(config, description)
    application, task = experiment.application, experiment.best_task(folder)
    if files is None:
        answer, account = application.predict_text(task, description, str(text))
        print(f"{answer.iloc[0].dropna().to_string()}\n{account}")
        return
    source, target = files
    predictions, account = application.predict(task, description, source)
    predictions.to_csv(target, index=False, float_format="%.6g")
    print(f"{account}\n{len(predictions)} rows written to {target}")


def _files(config: DictConfig) -> tuple[Path, Path] | None:
    """The file to read and the one to write, None beside a text; UserError if one cannot be."""
    from omegaconf import OmegaConf

    from apps.errors import UserError

    if config.text is not None:
        if not all(OmegaConf.is_missing(config, key) for key in ("input", "output")):
            raise UserError("text: is answered on the spot; leave out input and output, or text")
        return None
    source, target = Path(str(config.input)), Path(str(config.output))
    if not source.exists():
        raise UserError(f"input={source}: no such file")
    if target.is_dir():
        raise UserError(f"output={target}: is a folder")
    if target.exists() and not config.overwrite:
        raise UserError(f"output={target}: exists; choose another file or add overwrite=true")
    if not target.absolute().parent.is_dir():
        raise UserError(f"output={target}: no such folder: {target.absolute().parent}")
    return source, target


def main() -> None:
    """Entry point of the console script."""
    command("predict", run)


if __name__ == "__main__":
    main()
