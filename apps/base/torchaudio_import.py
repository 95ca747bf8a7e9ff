"""Import torchaudio also where its native library does not fit this torch.

torchaudio from PyPI is linked to CUDA: on a CPU-only torch its library cannot be loaded, and the
import fails, though torchaudio can do without it ("built without extension"). Nothing here uses
the native part (features, masks, resampling and models are plain torch).
"""

from __future__ import annotations

import importlib.util
import logging
import os
import sys
from types import ModuleType
from typing import Any

_UTILS = "torchaudio._extension.utils"


def import_torchaudio() -> ModuleType:
    """Import and return torchaudio, without its extension where that cannot be loaded.

    Where the library loads, torchaudio runs as it is. Raises ModuleNotFoundError when
    torchaudio is not installed.
    """
    if "torchaudio" not in sys.modules:
        found = importlib.util.find_spec("torchaudio")
        if found is None or not found.submodule_search_locations:
            raise ModuleNotFoundError("torchaudio is not installed", name="torchaudio")
        file = os.path.join(found.submodule_search_locations[0], "_extension", "utils.py")
        if os.path.exists(file):
            sys.modules[_UTILS] = _tolerant(file)
    try:
        return importlib.import_module("torchaudio")
    except BaseException:
        sys.modules.pop(_UTILS, None)
        raise


def _tolerant(file: str) -> ModuleType:
    """torchaudio's own loader module, whose failures mean "no extension" instead of no import."""
    spec = importlib.util.spec_from_file_location(_UTILS, file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file}: cannot be imported")
    utils: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(utils)
    load, check = utils._load_lib, utils._check_cuda_version

    def _load_lib(lib: str) -> bool:
        try:
            return bool(load(lib))
        except OSError:  # there, but linked to CUDA libraries that this torch lacks
            return False

    def _check_cuda_version() -> Any:
        try:
            return check()
        except RuntimeError as error:  # another CUDA than torch's: its kernels are not used here
            logging.getLogger(__name__).debug("%s", error)
            return None

    utils._load_lib, utils._check_cuda_version = _load_lib, _check_cuda_version
    module: ModuleType = utils
    return module
