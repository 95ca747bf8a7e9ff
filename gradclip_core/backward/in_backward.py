"""Clipping inside the backward pass, where an explosion begins."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence
from torch.optim import Optimizer

from gradclip_core.checks import check_integer, check_positive
from gradclip_core.guards import Policy
from gradclip_core.parts.gradients import Parameters
from gradclip_core.parts.norms import Parts, scalar_dtype, total
from gradclip_core.report import ClipReport
from gradclip_core.rules.rule import Rule
from gradclip_core.thresholds import Fixed


def clip_backward(
    tensor: Tensor, *, max_value: float | None = None, max_norm: float | None = None
) -> Tensor:
    """The tensor itself, whose gradient is clipped on its way back through this point.

    Examples:
        >>> import torch
        >>> from gradclip_core import clip_backward
        >>> state = torch.tensor([1.0, 2.0], requires_grad=True)
        >>> (10 * clip_backward(state, max_value=3.0)).sum().backward()
        >>> state.grad
        tensor([3., 3.])

    Args:
        tensor: any tensor that is part of a graph.
        max_value: the largest magnitude of an element.
        max_norm: the largest 2-norm of the whole gradient of the tensor; one of the two, a number >
            0.

    Paths that do not pass through the result are not touched. NaN stays NaN; an infinite element
    is NaN by norm. Source: Graves 2013, arXiv:1308.0850, section 2.1. Raises ValueError for bounds
    that make no sense.
    """
    bound, by_value = _check_bound(max_value, max_norm)
    return _hooked(tensor, lambda grad: _bounded(grad, bound, by_value)[0])


class ClipBackward(Rule):
    """Clips the gradients of hidden states as they flow back through time in recurrent layers.

    Examples:
        >>> import torch
        >>> from gradclip_core import ClipBackward
        >>> model = torch.nn.GRU(4, 8)
        >>> clipper = ClipBackward(max_value=0.1).attach(model=model)
        >>> states, _ = model(torch.ones(5, 2, 4))
        >>> states.sum().backward()
        >>> clipper(model).clipped.item()  # gradients of 1 came from the loss
        True

    delta_t <- clip(delta_t) for the gradient of the loss by the state (h, and c of an LSTM) that
    is handed on at every `every`-th time step, by the final state, and by the outputs. Source:
    Graves 2013, arXiv:1308.0850, who clamps the derivatives at the inputs of an LSTM's gates to
    [-10, 10]; those are inside of torch's layers, so the states between them are clipped here.
    An explosion is stopped where it begins; clipping parameters' gradients finds only NaN.

    Args:
        max_value: the largest magnitude of an element.
        max_norm: the largest 2-norm of each gradient of a state or output; one of the two, a number
            > 0. With a loss that is a mean over the batch these gradients are small.
        every: time steps between clipped states; None clips outputs and final states alone.
        nonfinite: what happens to a step whose gradient holds NaN or inf: "skip" removes its
            gradients, "raise" stops and names the parameters, "zero" sets the bad elements to zero,
            "pass" lets them through; see `Guard`.
        patience: number of such steps in a row at which NonFiniteGradientError is raised; None
            bears any number.

    Attach it to a model with `nn.RNN`, `nn.LSTM` or `nn.GRU` layers. A layer then runs over
    pieces of `every` time steps: the same result, more slowly the shorter they are, except that
    dropout between layers draws other numbers. Bidirectional layers and packed sequences are
    clipped at outputs and final states alone, and without gradients nothing changes.
    `detach()` leaves the model as it was.

    The report is of the parameters' gradients, which are measured and never changed; "clipped"
    means that a gradient was clipped on the way. The guard acts as everywhere; see `Rule`.
    """

    def __init__(
        self,
        max_value: float | None = None,
        *,
        max_norm: float | None = None,
        every: int | None = 1,
        nonfinite: Policy = "skip",
        patience: int | None = None,
    ) -> None:
        bound, by_value = _check_bound(max_value, max_norm)
        super().__init__(Fixed(bound), nonfinite=nonfinite, patience=patience)
        self.bound = bound
        self.by_value = by_value
        self.every = None if every is None else check_integer("every", every, others=" or None")
        self._clipped: Tensor | None = None
        self._replaced: list[tuple[nn.Module, Any]] = []

    def attach(self, *, model: nn.Module | None = None, optimizer: Optimizer | None = None) -> Self:
        """Clip inside this model; raises ValueError if it has no recurrent layer."""
        model, optimizer = self._together(model, optimizer)
        layers = [] if model is None else [m for m in model.modules() if isinstance(m, nn.RNNBase)]
        if not layers:
            given = "no model" if model is None else type(model).__name__
            raise ValueError(
                "ClipBackward needs a model with nn.RNN, nn.LSTM or nn.GRU layers, got "
                f"{given}; elsewhere call clip_backward(tensor)"
            )
        super().attach(model=model, optimizer=optimizer)
        for layer in layers:
            self._replaced.append((layer, layer.__dict__.get("forward")))
            layer.forward = functools.partial(self._run, layer, layer.forward)
        return self

    def _unhook(self) -> None:
        """Give the layers their own `forward` back."""
        super()._unhook()
        self._clipped = None
        while self._replaced:
            layer, own = self._replaced.pop()
            if own is None:
                del layer.forward
            else:
                layer.forward = own

    def forward(self, parameters: Parameters, *, loss: Tensor | None = None) -> ClipReport:
        """Measure the gradients and apply the guard; raises ValueError without a model."""
        if not self._replaced:
            raise ValueError(
                "ClipBackward works in the backward pass: call clipper.attach(model=model) first"
            )
        try:
            return super().forward(parameters, loss=loss)
        finally:
            self._clipped = None

    def over(self, parts: Parts, thresholds: Tensor) -> Tensor:
        """Whether a gradient was clipped on the way since the last call, (1,) bool."""
        clipped = torch.zeros_like(parts.norms, dtype=torch.bool)
        return clipped if self._clipped is None else clipped | self._clipped.to(clipped.device)

    def respond(self, parts: Parts, thresholds: Tensor) -> Tensor:
        """Leave the gradients as they are."""
        return parts.norms

    def _run(
        self,
        layer: nn.RNNBase,
        run: Callable[..., tuple[Any, Any]],
        input: Tensor | PackedSequence,
        hx: Any = None,
    ) -> tuple[Any, Any]:
        """A layer's `forward`, in pieces of `every` time steps."""
        if not torch.is_grad_enabled():
            return run(input, hx)
        if isinstance(input, PackedSequence):
            packed, state = run(input, hx)
            return packed._replace(data=self._clip_back(packed.data)), self._clip_state(state)
        time = 1 if layer.batch_first and input.ndim == 3 else 0
        whole = self.every is None or layer.bidirectional or not input.shape[time]
        outputs, state = [], hx
        for piece in (input,) if whole else torch.split(input, self.every or 1, time):
            output, state = run(piece, state)
            outputs.append(output)
            state = self._clip_state(state)
        return self._clip_back(torch.cat(outputs, time)), state

    def _clip_state(self, state: Tensor | tuple[Tensor, Tensor]) -> Any:
        if isinstance(state, tuple):
            return tuple(map(self._clip_back, state))
        return self._clip_back(state)

    def _clip_back(self, tensor: Tensor) -> Tensor:
        return _hooked(tensor, self._clip_gradient)

    def _clip_gradient(self, grad: Tensor) -> Tensor:
        bounded, over = _bounded(grad, self.bound, self.by_value)
        seen = self._clipped
        self._clipped = over if seen is None else seen.to(over.device) | over
        return bounded

    def __getstate__(self) -> dict[str, Any]:
        return super().__getstate__() | {"_replaced": [], "_clipped": None}


def _hooked(tensor: Tensor, hook: Callable[[Tensor], Tensor]) -> Tensor:
    if not tensor.requires_grad:
        return tensor
    passed = tensor.view_as(tensor)  # of its own, so that other uses of the tensor are untouched
    passed.register_hook(hook)  # type: ignore[no-untyped-call]
    return passed


def _bounded(grad: Tensor, bound: float, by_value: bool) -> tuple[Tensor, Tensor]:
    """The clipped gradient, and whether it was over its bound, 0-d bool."""
    if by_value:
        return grad.clamp(-bound, bound), (grad.abs() > bound).any()
    wide = grad.to(torch.promote_types(grad.dtype, torch.float32))
    sizes = wide.abs()
    norm = total(sizes.flatten().to(scalar_dtype(grad.device)), 2.0)
    factor = torch.where(norm > bound, bound / norm, 1.0)
    return (wide * factor.to(sizes.dtype)).to(grad.dtype), norm > bound


def _check_bound(max_value: float | None, max_norm: float | None) -> tuple[float, bool]:
    """The one bound that is given, and whether it is by value; ValueError for none or two."""
    if max_value is not None and max_norm is None:
        return check_positive("max_value", max_value), True
    if max_norm is not None and max_value is None:
        return check_positive("max_norm", max_norm), False
    raise ValueError(
        "one of max_value and max_norm must be a number > 0 and the other None, got "
        f"max_value={max_value!r} and max_norm={max_norm!r}"
    )
