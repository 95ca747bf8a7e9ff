"""An optimizer that a clipper serves."""

from __future__ import annotations

from torch import nn
from torch.optim import SGD, Adam, Optimizer

from gradclip_core import Clipper


def attached(clipper: Clipper, net: nn.Module, lr: float) -> Optimizer:
    """An optimizer with the clipper attached: SGD, or Adam where a rule needs its moments."""
    sgd = SGD(net.parameters(), lr)
    try:
        clipper.attach(model=net, optimizer=sgd)
    except ValueError:
        adam = Adam(net.parameters(), lr)
        clipper.attach(model=net, optimizer=adam)
        return adam
    return sgd
