"""What clipping means to an optimizer."""

from __future__ import annotations

from torch.optim import Optimizer

from gradclip_core.stepping.no_effect import one_size

# By the names of their classes and bases, so that optimizers of other packages are known too.
_ADAPTIVE = {
    "Adadelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "Adamax",
    "AdamW",
    "NAdam",
    "RAdam",
    "RMSprop",
    "SparseAdam",
}


def is_adaptive(optimizer: Optimizer | None) -> bool:
    """Whether a factor common to all gradients cancels in the optimizer's step."""
    if optimizer is None:
        return False
    return one_size(optimizer) is not None or bool(_names(optimizer) & _ADAPTIVE)


def meaning(optimizer: Optimizer, max_norm: float | None) -> str:
    """What clipping can do under an optimizer, in a sentence.

    max_norm: the fixed threshold of the whole gradient, if there is one.
    """
    name = type(optimizer).__name__
    if one_size(optimizer):
        return (
            f"The length of {name}'s step does not depend on the gradient's: clipping only limits "
            "how much a spike weighs in what the optimizer remembers."
        )
    if is_adaptive(optimizer):
        return (
            f"{name} divides by the size of past gradients: a factor common to all steps cancels, "
            "and a threshold counts only where it treats some steps unlike others."
        )
    if max_norm is None or type(optimizer).__name__ != "SGD":
        return f"{name}'s step grows with the gradient: clipping bounds its length."
    rate = max(float(group["lr"]) for group in optimizer.param_groups)
    return (
        f"SGD's step is the learning rate times the gradient (and momentum): at a rate of "
        f"{rate:.3g} no gradient adds more than {rate * max_norm:.3g} to it."
    )


def _names(optimizer: Optimizer) -> set[str]:
    return {kind.__name__ for kind in type(optimizer).__mro__}
