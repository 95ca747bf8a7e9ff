"""What a result depends on beside its configuration."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version

import torch

import gradclip_core


def environment() -> dict[str, str]:
    """Versions, device and number of cores, for a report."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    packages = ("lightning", "hydra-core", "scikit-learn", "numpy", "pandas")
    return {
        "gradclip": gradclip_core.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        **{name: version(name) for name in packages},
        "device": device,
        "cores": str(os.cpu_count()),
        "system": f"{platform.system()} {platform.machine()}",
    }
