"""What is done in a child before a verb's `main` is called, beside arming the shim."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tests.kill.killing import activate


def in_this_process(value: str) -> None:
    """Make the runs of a comparison in the process that is to be killed, not in workers of it.

    The boosted trees, which write nothing that other baselines do not, are left out.
    """
    import apps.grid.local
    from apps.energy.baselines import BASELINES

    def pool(*_: object, **__: object) -> Any:
        return ThreadPoolExecutor(1)

    apps.grid.local.ProcessPoolExecutor = pool  # type: ignore[assignment,misc]
    for name in ("hgb", "hgb_no_covariates"):
        del BASELINES[name]
    activate(value)


def with_small_data(value: str) -> None:
    """Stand a small file in for a data set of the catalogue, in a mirror of its own."""
    import dataclasses
    import hashlib
    from pathlib import Path

    import pandas as pd

    from data_scripts import energy_catalogue
    from tests.conftest import load_table

    days = 343  # up to the end of the test days of the catalogue
    rows = load_table(24 * days).rename(columns={"timestamp": "date", "load": "OT"})
    rows["date"] += pd.Timestamp("2018-02-21") - rows["date"].iloc[0] - pd.Timedelta(days=days)
    for name in ("HUFL", "HULL", "MUFL", "MULL", "LUFL", "LULL"):
        rows[name] = rows["temperature"]
    text = rows.drop(columns="temperature").to_csv(index=False)
    dataset = energy_catalogue.DATASETS["etth1"]
    source = dataset.sources[0]
    place = Path("mirror") / source.mirror[0]
    if not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    checksum = hashlib.sha256(text.encode()).hexdigest()
    small = dataclasses.replace(source, sha256=checksum)
    energy_catalogue.DATASETS["etth1"] = dataclasses.replace(dataset, sources=(small,))
    activate(value)
