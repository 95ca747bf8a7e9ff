"""The gradient of every sample of a batch, all at once or one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, vmap
from torch.utils._pytree import tree_leaves, tree_map

Method: TypeAlias = Literal["auto", "vmap", "loop"]
LossOf: TypeAlias = Callable[[Any], Tensor]
# Gradients with the samples first, (b, ...), one for each parameter, and the losses, (b,).
Chunk: TypeAlias = tuple[list[Tensor | None], Tensor]


class SampleError(ValueError):
    """A batch that cannot be taken apart into samples.

    Examples:
        >>> import torch
        >>> from gradclip_core import ClipPerSample, SampleError
        >>> model = torch.nn.Linear(1, 1)
        >>> clipper = ClipPerSample(1.0).attach(model=model)
        >>> batch = torch.ones(3, 1), torch.ones(2, 1)
        >>> try:
        ...     clipper.backward(lambda batch: model(batch[0]).sum(), batch)
        ... except SampleError as error:
        ...     print("lengths differ" if "same length" in str(error) else error)
        lengths differ
    """


def num_samples(batch: Any) -> int:
    """The samples in a batch; raises SampleError where its tensors do not agree."""
    leaves = tree_leaves(batch)
    tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor) and leaf.ndim]
    sizes = {len(tensor) for tensor in tensors}
    if len(tensors) < len(leaves) or len(sizes) != 1 or 0 in sizes:
        shapes = [tuple(getattr(leaf, "shape", [])) or type(leaf).__name__ for leaf in leaves]
        raise SampleError(
            "a batch is taken apart along the first dimension, so it must hold tensors of one "
            f"and the same length there, got {shapes}"
        )
    return sizes.pop()


def recurrent_or_sparse(model: nn.Module) -> bool:
    """Whether a model has layers that `torch.vmap` cannot take, or cannot differentiate."""
    return any(
        isinstance(module, nn.RNNBase)
        or (isinstance(module, (nn.Embedding, nn.EmbeddingBag)) and module.sparse)
        for module in model.modules()
    )


def at_once(
    model: nn.Module, loss_of: LossOf, batch: Any, params: dict[str, nn.Parameter], chunk: int
) -> Iterator[Chunk]:
    """Gradients by `torch.func`, of `chunk` samples at a time."""
    whole = _Loss(model, loss_of)

    def of_one(values: dict[str, Tensor], sample: Any) -> Tensor:
        one = tree_map(lambda tensor: tensor.unsqueeze(0), sample)
        loss: Tensor = functional_call(whole, values, (one,))
        return loss

    per_sample = vmap(grad_and_value(of_one), in_dims=(None, 0), randomness="different")
    values = {f"model.{name}": param.detach() for name, param in params.items()}
    for start in range(0, num_samples(batch), chunk):
        grads, losses = per_sample(values, _part(batch, start, start + chunk))
        yield [grads[name] for name in values], losses


def one_by_one(loss_of: LossOf, batch: Any, params: dict[str, nn.Parameter]) -> Iterator[Chunk]:
    """Gradients by one backward pass for each sample; sparse ones stay sparse."""
    for index in range(num_samples(batch)):
        with torch.enable_grad():
            loss = loss_of(_part(batch, index, index + 1))
        grads = torch.autograd.grad(loss, list(params.values()), allow_unused=True)
        yield [None if grad is None else grad.unsqueeze(0) for grad in grads], loss.detach().view(1)


def _part(batch: Any, start: int, stop: int) -> Any:
    return tree_map(lambda tensor: tensor[start:stop], batch)


class _Loss(nn.Module):
    """The loss as a module, so that the model's parameters can be exchanged during the call."""

    def __init__(self, model: nn.Module, loss_of: LossOf) -> None:
        super().__init__()
        self.model = model
        self.loss_of = loss_of

    def forward(self, batch: Any) -> Tensor:
        """The loss of a batch, 0-d."""
        return self.loss_of(batch)
