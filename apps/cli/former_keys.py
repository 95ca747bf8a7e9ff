"""Former names of keys: what arguments of the core's classes are called now."""

from __future__ import annotations

import importlib
from typing import Any


def present_key(target: Any, key: Any) -> Any:
    """The present name of a key beside `_target_: target`; the key itself if it has no other."""
    module, _, name = str(target).rpartition(".")
    if module != "gradclip_core":
        return key
    kind = getattr(importlib.import_module(module), name, None)
    return getattr(kind, "former_arguments", {}).get(key, key)
