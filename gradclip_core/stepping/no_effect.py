"""Warnings where clipping cannot do what its user expects of it."""

from __future__ import annotations

import math
import warnings

from torch.optim import LBFGS, Optimizer

from gradclip_core.thresholds import Fixed, Threshold

# Optimizers whose steps have one size whatever that of the gradient, by the names of classes:
# most of them are not torch's. They take signs, or make the update orthogonal.
_ONE_SIZE = {
    "AdaMuon",
    "DistributedLion",
    "DistributedMuon",
    "Lion",
    "Muon",
    "Rprop",
    "Scion",
    "SignSGD",
    "Signum",
    "Tiger",
}


IDLE_CALLS = 4  # after which a clipper that has seen no gradient is not where it should be


def warn_of_no_gradient(clipper: str) -> None:
    """Issue a UserWarning that none of the calls of a clipper has found a gradient."""
    _warn(
        f"{clipper} was called {IDLE_CALLS} times and has found no gradient yet: call it after "
        "backward() and before zero_grad(), with the parameters that the optimizer moves"
    )


def warn_of_no_effect(rule: str, threshold: Threshold, optimizer: Optimizer | None) -> None:
    """Issue a UserWarning if a rule on gradients never acts, or bounds no step of the optimizer."""
    if isinstance(threshold, Fixed) and math.isinf(threshold.value):
        _warn(f"{rule} never clips, since its threshold is inf; NoClip measures without clipping")
    if optimizer is not None:
        warn_of_steps(rule, optimizer)


def warn_of_steps(rule: str, optimizer: Optimizer) -> None:
    """Issue a UserWarning if a rule on gradients bounds no step of the optimizer."""
    if isinstance(optimizer, LBFGS):
        _warn(
            f"LBFGS takes the curvature from differences of gradients, which {rule} changes: bound "
            "its steps with line_search_fn='strong_wolfe' or a smaller lr instead"
        )
    if name := one_size(optimizer):
        _warn(
            f"{name} makes steps of one size whatever the gradient's: {rule} cannot bound them, "
            f"it only changes how gradients mix in the momentum; the size of the steps is lr"
        )


def one_size(optimizer: Optimizer) -> str | None:
    """The name of the optimizer, or of its base, if its steps have one size; else None."""
    names = [kind.__name__ for kind in type(optimizer).__mro__]
    return next((name for name in names if name in _ONE_SIZE), None)


def _warn(message: str) -> None:
    # Here, and not where the rule was attached, so that Python shows each message once.
    warnings.warn(message, UserWarning, stacklevel=1)
