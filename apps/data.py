"""`gradclip-data`: fetch and check an application's data."""

from __future__ import annotations

from typing import TYPE_CHECKING

from apps.cli.command import command

if TYPE_CHECKING:
    from omegaconf import DictConfig
    from pandas import DataFrame


def run(config: DictConfig) -> None:
    """Fetch, check and convert the data, and say what there is now."""
    from apps.cli.schema import DataSettings
    from apps.run.experiment import Experiment

    data = Experiment(config, settings=DataSettings).data
    print(data.account)
    if len(data.preview):
        print(f"\n{preview(data.preview)}")


def preview(table: DataFrame, rows: int = 3) -> str:
    """The first and the last rows of a table, for the terminal."""
    import pandas as pd

    with pd.option_context("display.width", 100, "display.max_columns", 8):
        return (
            str(table)
            if len(table) <= 2 * rows
            else (
                f"{table.head(rows).to_string(index=False)}\n...\n"
                f"{table.tail(rows).to_string(index=False, header=False)}"
            )
        )


def main() -> None:
    """Entry point of the console script."""
    command("data", run)


if __name__ == "__main__":
    main()
