"""Where the runs of a comparison are made."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

from apps.grid.worker import Job

Made = Iterator[tuple[Job, dict[str, Any]]]


class Launcher(ABC):
    """Makes jobs side by side. `here` says whether on this machine, whose devices count then."""

    here: ClassVar[bool] = False

    @abstractmethod
    def make_all(self, jobs: Sequence[Job], at_once: int | None, folder: Path) -> Made:
        """Make all jobs, at most so many at once; yield each with its metrics as it ends.

        A run that ended before with the same configuration and code is not repeated; one that was
        interrupted continues. A run that fails does not stop the others. `folder` takes what the
        launcher itself leaves behind.
        """
