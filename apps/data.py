"""`gradclip-data`: fetch and check an application's data."""

from __future__ import annotations

from typing import TYPE_CHECKING

from apps.cli.command import command

if TYPE_CHECKING:
    from omegaconf import DictConfig


def run(config: DictConfig) -> None:
    """Fetch, check and convert the data, and say what there is now."""
    from apps.cli.instantiate import instantiate
    from apps.run.trainer import quieten
    from apps.run.training import load_data

    quieten()
    print(load_data(instantiate(config, "app"), config).account)


def main() -> None:
    """Entry point of the console script."""
    command("data", run)


if __name__ == "__main__":
    main()
