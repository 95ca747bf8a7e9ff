"""On what a benchmark was run, for the head of its page."""

from __future__ import annotations

import os
import platform

import torch


def load() -> str:
    """The load of the machine in the last minute."""
    return f"load {os.getloadavg()[0]:.0f}"


def machine() -> str:
    """Cores, processor and torch version of this machine, for the head of a page."""
    names = [line for line in _cpuinfo() if line.startswith("model name")]
    name = names[0].partition(":")[2].strip() if names else platform.machine()
    return f"{os.cpu_count()} cores of {name}, torch {torch.__version__}"


def _cpuinfo() -> list[str]:
    try:
        with open("/proc/cpuinfo") as file:
            return file.read().splitlines()
    except OSError:
        return []
