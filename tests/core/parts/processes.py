"""Running a function in several gloo processes and collecting what each returned."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp


def run_processes(world: int, folder: Path, work: Callable[..., Any], *args: Any) -> list[Any]:
    """Call `work(*args)` in `world` processes; what each returned (tensors, plain values)."""
    folder.mkdir(parents=True, exist_ok=True)
    mp.spawn(_enter, (world, str(folder), work, args), nprocs=world)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(world)]


def _enter(
    rank: int, world: int, folder: str, work: Callable[..., Any], args: tuple[Any, ...]
) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=world
    )
    try:
        torch.save(work(*args), Path(folder) / f"{rank}.pt")
        dist.barrier()
    finally:
        dist.destroy_process_group()
