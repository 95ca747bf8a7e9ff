"""The runs of a plan as jobs for a launcher."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from apps.grid.launcher import Launcher
from apps.grid.plan import Planned
from apps.grid.worker import Job
from apps.run.trainer import make_trainer


def as_job(planned: Planned, launcher: Launcher) -> Job:
    """A run as it is sent away: away from here, or in several processes, in one of its own."""
    plain: Any = OmegaConf.to_container(planned.config, resolve=True)
    apart = not launcher.here or _processes(planned) > 1
    return Job(plain, planned.overrides, str(planned.path), str(Path.cwd()), apart)


def default_at_once(planned: Planned, launcher: Launcher) -> int | None:
    """As many runs as cores allow here; elsewhere the cluster decides."""
    return max((os.cpu_count() or 1) // _processes(planned), 1) if launcher.here else None


def _processes(planned: Planned) -> int:
    """How many processes a run trains in on this machine."""
    return make_trainer(planned.config, logger=False, enable_checkpointing=False).num_devices
