"""Running a function in several gloo processes and collecting what each returned."""

from __future__ import annotations

import faulthandler
import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

# Processes that wait for one another have made different calls.
PATIENCE = timedelta(minutes=5)


def run_processes(world: int, folder: Path, work: Callable[..., Any], *args: Any) -> list[Any]:
    """Call `work(*args)` in `world` processes; what each returned (tensors, plain values)."""
    folder.mkdir(parents=True, exist_ok=True)
    mp.spawn(_enter, (world, str(folder), work, args), nprocs=world)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(world)]


def _enter(
    rank: int, world: int, folder: str, work: Callable[..., Any], args: tuple[Any, ...]
) -> None:
    faulthandler.enable()
    torch.set_num_threads(1)
    place = f"file://{folder}/rendezvous"
    dist.init_process_group("gloo", place, PATIENCE, world, rank)
    try:
        torch.save(work(*args), Path(folder) / f"{rank}.pt")
        dist.barrier()
    finally:
        dist.destroy_process_group()
    # gloo's threads outlive their group, and one that frees a tensor while the interpreter
    # ends aborts the process (pytorch issue 190489): end without the interpreter's end.
    os._exit(0)
