"""Trainings in two processes, of any application."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from tests.apps.runs import metrics, steps
from tests.conftest import Ended

ROOT = Path(__file__).parents[2]
# What pip makes of an entry in [project.scripts].
SCRIPT = "import sys\nfrom apps.train import main\nsys.exit(main())\n"
TRAINERS = {
    "ddp": ("trainer=ddp_cpu",),
    "fsdp": ("trainer=fsdp", "trainer.accelerator=cpu"),  # cannot average weights
}


def start(script: Path, *arguments: object) -> Ended:
    """Run a console script in a process of its own, with the processes that it starts."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"}
    ended = subprocess.run(
        [sys.executable, str(script), *map(str, arguments)],
        env=environment,
        cwd=script.parent,
        capture_output=True,
        text=True,
        timeout=600,
    )
    return Ended(ended.returncode, ended.stdout, ended.stderr)


def assert_shards_make_the_steps_of_copies(folder: Path, overrides: Sequence[str]) -> None:
    """DDP and FSDP2 by configuration leave the same record of a training in two processes.

    overrides: of a quick training without averaged weights, and without dropout, which every
        process draws for itself.
    """
    script = folder / "gradclip-train"
    script.write_text(SCRIPT)
    for way, trainer in TRAINERS.items():
        settings = [*overrides, "clipping=autoclip", *trainer, f"run_dir={folder / way}"]
        ended = start(script, *settings)
        assert ended.code == 0, ended.err
        assert ended.err == ""
        assert metrics(folder / way)["status"] == "completed"
    copies, shards = (steps(folder / way).select_dtypes("number") for way in TRAINERS)
    assert len(shards) > 3
    # Later steps drift apart by rounding.
    pd.testing.assert_frame_equal(shards.head(3), copies.head(3), rtol=1e-4, atol=1e-6)
