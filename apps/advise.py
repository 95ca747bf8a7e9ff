"""`gradclip-advise`: which clipping would fit a training, from real steps without any."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from apps.cli.command import command

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from apps.run.experiment import Experiment


def run(config: DictConfig) -> None:
    """Record the steps, say what they say, leave the advice and its picture."""
    from apps.cli.compose import chosen, named
    from apps.cli.instantiate import whole_number
    from apps.cli.schema import FirstSteps, check
    from apps.run.experiment import Experiment
    from apps.run.locking import new_folder
    from gradclip_core.advice import MIN_STEPS

    config = named(config)
    check(config, FirstSteps)
    steps = whole_number(config, "steps", MIN_STEPS)
    if config.output_dir is None:
        with new_folder(Path("advice") / config.app.name, chosen("optimizer")) as folder:
            _advise(Experiment(config, settings=FirstSteps), steps, folder)
        return
    folder = Path(str(config.output_dir))
    _check_unused(folder)
    _advise(Experiment(config, settings=FirstSteps), steps, folder)


def _advise(experiment: Experiment, steps: int, folder: Path) -> None:
    from apps.cli.compose import given
    from apps.report.charts.advice import write_advice
    from apps.run.advising import advise_on

    print(f"{experiment.account}\n{steps} steps without clipping ...\n", flush=True)
    advice, record = advise_on(experiment, steps)
    line = shlex.join(["gradclip-train", *_for_training(given()), *advice.choice.line.split()])
    write_advice(advice, record, folder, line)
    print(advice.text(overrides=True))
    print(f"\nto train with it: {line}\nadvice and picture: {folder}")


def _check_unused(path: Path) -> None:
    """UserError if something is in the folder that was not left by a killed process."""
    from apps.errors import UserError
    from apps.report.charts.advice import is_unfinished

    if os.path.lexists(path) and not (path.is_dir() and is_unfinished(path)):
        raise UserError(f"output_dir={path}: exists and is not empty; choose another folder")
    above = next(parent for parent in path.absolute().parents if parent.exists())
    if not above.is_dir() or not os.access(above, os.W_OK):
        raise UserError(f"output_dir={path}: nothing can be written into {above}")


def _for_training(overrides: list[str]) -> list[str]:
    """The overrides that `gradclip-train` takes too."""
    own = ("steps=", "output_dir=")
    return [override for override in overrides if not override.startswith(own)]


def main() -> None:
    """Entry point of the console script."""
    command("advise", run)


if __name__ == "__main__":
    main()
