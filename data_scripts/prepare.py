"""From a data set's description to its folder of checked files, the same for every application."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import pandas as pd

from data_scripts.fetch import fetch
from data_scripts.files import replacing
from data_scripts.manifest import DataError, Dataset, Manifest, sha256, verify

TABLE = "data.parquet"


def prepare_folder(
    description: Dataset,
    data_dir: Path,
    mirror: Path | None,
    convert: Callable[[Sequence[Path], Path], Manifest],
) -> Path:
    """Return `data_dir/<application>/<name>` holding converted files and `manifest.json`.

    Does nothing more when all are there and their checksums agree. `convert` gets the raw files
    in the order of `description.sources`, writes into the folder and returns the manifest.
    Raises DataError for files that cannot be had, read or written, or fail their checksum.
    """
    folder = Path(data_dir) / description.application / description.name
    if _is_prepared(folder, description):
        return folder
    print(f"{description.name}: licence {description.licence}; {description.credit}", flush=True)
    place = None if mirror is None else Path(mirror)
    raw = [fetch(source, Path(data_dir) / "raw", place) for source in description.sources]
    try:
        convert(raw, folder).write(folder)
    except OSError as error:
        raise DataError(f"{folder}: {error.strerror or error}") from None
    return folder


def _is_prepared(folder: Path, description: Dataset) -> bool:
    try:
        return verify(folder).dataset == description
    except DataError:
        return False


def write_table(table: pd.DataFrame, folder: Path) -> dict[str, str]:
    """Write `data.parquet` atomically; return it with its SHA-256, as a manifest's `files`."""
    with replacing(folder / TABLE) as temporary:
        table.to_parquet(temporary, index=False)
        return {TABLE: sha256(temporary)}


def command_line(
    prepare: Callable[[str, Path, Path | None], Path],
    datasets: Iterable[str],
    arguments: list[str] | None = None,
) -> int:
    """Prepare the data set named by `--dataset` (default: the first of `datasets`).

    Prints the folder and returns 0, or one line on stderr and 2.
    """
    names = list(datasets)
    parser = argparse.ArgumentParser(description="Fetch, check and convert a data set.")
    parser.add_argument("--dataset", choices=names, default=names[0])
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    mirror = os.environ.get("GRADCLIP_DATA_MIRROR") or None
    parser.add_argument("--mirror", type=Path, default=mirror, help="folder with raw files")
    options = parser.parse_args(arguments)
    try:
        print(prepare(options.dataset, options.data_dir, options.mirror))
    except DataError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0
