"""`gradclip-data`: fetch and check an application's data."""

from __future__ import annotations

from typing import TYPE_CHECKING

from apps.cli.command import command

if TYPE_CHECKING:
    from omegaconf import DictConfig


def run(config: DictConfig) -> None:
    """Fetch, check and convert the data, and say what there is now."""
    from apps.run.experiment import Experiment

    print(Experiment(config).data.account)


def main() -> None:
    """Entry point of the console script."""
    command("data", run)


if __name__ == "__main__":
    main()
