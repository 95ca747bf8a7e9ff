"""Making runs side by side in processes of this machine."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from omegaconf import OmegaConf

from apps.grid.making import failed, make
from apps.grid.plan import Planned


def run_all(planned: list[Planned], jobs: int) -> Iterator[tuple[Planned, dict[str, Any]]]:
    """Make the runs in `jobs` processes; yield each with its metrics as it ends.

    A run that ended before with the same configuration and code is not repeated; one that was
    interrupted continues. A run that fails does not stop the others.
    """
    lost = yield from _run_pool(planned, jobs)
    # A process that dies takes its pool with it: the rest go on one by one, to find the culprit.
    for run in lost:
        if (yield from _run_pool([run], 1)):
            yield run, failed("the process was killed (out of memory?)")


def _run_pool(
    planned: list[Planned], jobs: int
) -> Generator[tuple[Planned, dict[str, Any]], None, list[Planned]]:
    """Make runs side by side, yield what came of them, return those lost with their pool."""
    context = multiprocessing.get_context("spawn")
    lost = []
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=end_with_parent) as pool:
        futures: dict[Future[dict[str, Any]], Planned] = {}
        for run in planned:
            plain: Any = OmegaConf.to_container(run.config, resolve=True)
            futures[pool.submit(make, plain, str(run.path))] = run
        try:
            for future in as_completed(futures):
                if isinstance(future.exception(), BrokenProcessPool):
                    lost.append(futures[future])
                else:
                    yield futures[future], future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return lost


def end_with_parent() -> None:
    """End this worker process when the one that started it is gone, however it went."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
