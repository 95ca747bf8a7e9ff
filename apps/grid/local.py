"""Making runs side by side in processes of this machine.

A pool of the standard library: a worker serves one run after the other, so that torch is imported
once in each; when one dies the run that killed it is told from those that it took along, which
joblib's loky does not tell.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from apps.grid.launcher import Launcher, Made
from apps.grid.worker import Job, end_children, failed, make


class Local(Launcher):
    """Processes of this machine, one for each core where nothing else is said."""

    here = True

    def make_all(self, jobs: Sequence[Job], at_once: int | None, folder: Path) -> Made:
        """Make all jobs; see `Launcher`."""
        lost = yield from _in_pool(jobs, at_once or os.cpu_count() or 1)
        # A process that dies takes its pool with it: the rest go on one by one, to find the
        # culprit.
        for job in lost:
            if (yield from _in_pool([job], 1)):
                yield job, failed("the process was killed (out of memory?)")


def _in_pool(
    jobs: Sequence[Job], at_once: int
) -> Generator[tuple[Job, dict[str, Any]], None, list[Job]]:
    """Make jobs side by side, yield what came of them, return those lost with their pool."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    lost = []
    with ProcessPoolExecutor(
        at_once, mp_context=context, initializer=end_with_parent, initargs=(theirs,)
    ) as pool:
        futures: dict[Future[dict[str, Any]], Job] = {pool.submit(make, job): job for job in jobs}
        try:
            for future in as_completed(futures):
                if isinstance(future.exception(), BrokenProcessPool):
                    lost.append(futures[future])
                else:
                    yield futures[future], future.result()
        except BaseException:
            ours.close()  # the pool would wait for the runs that have begun
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return lost


def end_with_parent(*pipes: Connection) -> None:
    """End this worker process when its parent is gone, or has closed its end of a pipe."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        wait([*pipes, parent.sentinel])
        end_children()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
