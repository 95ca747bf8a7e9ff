"""How far apart two trainings may end that differ in nothing but the rounding of their sums.

A processor adds in the order of its registers and threads, and may or may not round between a
product and its sum. So two ways to one result agree on each machine to within rounding alone, and
by another amount on each. What is the same operation on the same numbers stays equal bit for bit,
and needs none of this.
"""

from __future__ import annotations

import torch

# Of a sum whose terms cancel, rounding takes more than the eps that it takes of each term.
CANCELLATION = 100


def of_training(
    steps: int, step_size: float, dtype: torch.dtype = torch.float32
) -> dict[str, float]:
    """`rtol` and `atol` of weights after steps that each move a weight by about `step_size`.

    Each step rounds the weights once and its own gradient as often as it has terms, and the
    weights are where the next one begins. Adam, RMSprop and Adagrad divide a gradient by its own
    size, so that their steps are of the learning rate whatever was clipped, and what cancellation
    leaves of a small gradient is as uncertain in them as it was in the gradient.
    """
    eps = torch.finfo(dtype).eps
    return {"rtol": steps * eps, "atol": CANCELLATION * eps * steps * step_size}


def of_mixed_training(steps: int, step_size: float, dtype: torch.dtype) -> dict[str, float]:
    """The same where activations are rounded to `dtype`, a narrow one.

    A weight that is another by its last bit can be rounded to the other neighbour, and that is an
    eps of the narrow type in this gradient and in all that come after it.
    """
    wide = of_training(steps, step_size)
    return {"rtol": wide["rtol"], "atol": torch.finfo(dtype).eps * steps * step_size}
