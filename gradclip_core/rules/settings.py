"""Settings that rules hand on to what they are made of, each declared once; see `Rule`."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypedDict, Unpack

from gradclip_core.guards import Policy
from gradclip_core.parts.norms import Measure, NormType
from gradclip_core.parts.partition import By


class RuleSettings(TypedDict, total=False):
    """What every rule takes: whose gradients it leaves alone, and what NaN and inf do."""

    exclude: str | None
    min_ndim: int
    nonfinite: Policy
    patience: int | None


class PartSettings(RuleSettings, total=False):
    """The same, and what the parts are and how they are measured."""

    by: By
    norm_type: NormType
    measure: Measure


def spelled_out(init: Callable[..., Any], whole: Callable[..., Any]) -> inspect.Signature:
    """The signature of a constructor with what stands for its `**settings`, as `whole` has them."""
    own = {name: p for name, p in inspect.signature(init).parameters.items() if name != "self"}
    settings = own.get("settings")
    for kind in (RuleSettings, PartSettings):
        if settings and settings.annotation in (f"Unpack[{kind.__name__}]", Unpack[kind]):
            given = inspect.signature(whole).parameters
            del own["settings"]
            own |= {n: p for n, p in given.items() if n in kind.__annotations__ and n not in own}
    return inspect.Signature(list(own.values()))
