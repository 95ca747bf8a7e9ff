"""`gradclip-advise`: which clipping would fit a training, from real steps without any."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from apps.cli.command import command

if TYPE_CHECKING:
    from omegaconf import DictConfig


def run(config: DictConfig) -> None:
    """Record the steps, say what they say, leave the advice and its picture."""
    from apps.cli.compose import chosen, given, named
    from apps.cli.instantiate import whole_number
    from apps.report.charts.advice import write_advice
    from apps.run.advising import advise_on
    from apps.run.experiment import Experiment
    from apps.run.folder import new_folder
    from gradclip_core.advice import MIN_STEPS

    config = named(config)
    steps = whole_number(config, "steps", MIN_STEPS)
    default = new_folder(Path("advice") / config.app.name, chosen("optimizer"))
    folder = _unused(Path(str(config.output_dir or default)))
    experiment = Experiment(config)
    print(f"{experiment.data.account}\n{steps} steps without clipping ...\n", flush=True)
    advice, record = advise_on(experiment, steps)
    line = shlex.join(["gradclip-train", *_for_training(given()), *advice.choice.line.split()])
    write_advice(advice, record, folder, line)
    print(advice.text(overrides=True))
    print(f"\nto train with it: {line}\nadvice and picture: {folder}")


def _unused(path: Path) -> Path:
    """The folder, if nothing is in its place; UserError otherwise."""
    from apps.errors import UserError

    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise UserError(f"output_dir={path}: exists and is not empty; choose another folder")
    above = next(parent for parent in path.absolute().parents if parent.exists())
    if not above.is_dir() or not os.access(above, os.W_OK):
        raise UserError(f"output_dir={path}: nothing can be written into {above}")
    return path


def _for_training(overrides: list[str]) -> list[str]:
    """The overrides that `gradclip-train` takes too."""
    own = ("steps=", "output_dir=")
    return [override for override in overrides if not override.startswith(own)]


def main() -> None:
    """Entry point of the console script."""
    command("advise", run)


if __name__ == "__main__":
    main()
