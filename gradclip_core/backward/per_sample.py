"""Clipping the gradient of every sample before they are averaged."""

from __future__ import annotations

import math
from typing import Any, Literal, Self, TypeAlias, get_args

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from gradclip_core.backward.sample_gradients import (
    LossOf,
    Method,
    at_once,
    num_samples,
    one_by_one,
    recurrent_or_sparse,
)
from gradclip_core.checks import check_choice, check_finite, check_integer, check_number
from gradclip_core.composed.composite import Composite
from gradclip_core.guards import Policy
from gradclip_core.parts.collect import collect
from gradclip_core.parts.gradients import Parameters, as_groups
from gradclip_core.parts.names import plain_names
from gradclip_core.report import ClipReport
from gradclip_core.rules.no_clip import NoClip

SampleResponse: TypeAlias = Literal["flat", "automatic", "drop"]
# Of some samples: their norms before and after and their thresholds, (b,), and their norms by
# parameter before, (b, n).
_Seen: TypeAlias = tuple[Tensor, Tensor, Tensor, Tensor]


class ClipPerSample(Composite):
    """Clips the gradient of each sample by itself, and averages what is left.

    Examples:
        >>> import torch
        >>> from gradclip_core import ClipPerSample
        >>> model = torch.nn.Linear(1, 1, bias=False)
        >>> clipper = ClipPerSample(1.0).attach(model=model)
        >>> batch = torch.tensor([[0.5], [100.0]])
        >>> loss = clipper.backward(lambda samples: model(samples).sum(dim=1).mean(), batch)
        >>> report = clipper(model)
        >>> model.weight.grad  # the mean of 0.5 and of 100 cut to 1
        tensor([[0.7500]])

    g = (1 / B) * sum of s_i * g_i over the samples of a batch, with n_i = ||g_i||_2 over all
    parameters. No sample can move the mean by more than its threshold / B: robust training, which
    is private only with noise, and there is none here.

    Args:
        max_norm: the threshold C, a finite number > 0.
        response: "flat": s = min(1, C / n) (Abadi et al. 2016, arXiv:1607.00133, algorithm 1).
            "automatic": s = C / (n + gamma) (AUTO-S of Bu et al. 2022, arXiv:2206.07136). "drop": s
            = 1 where n <= C, else 0 (Bu et al. 2021, arXiv:2106.07830).
        gamma: of the response "automatic", a finite number > 0.
        tail_index: b, > 0: the k-th sample of a batch has the threshold C k^(1/b), k = 1, 2, ...
            None: all have C. Source: Nobile and Grohs 2026, arXiv:2605.02701, who take for b the
            moment p that the noise of single gradients has, in (1, 2], and for C its size. Samples
            must come in random order.
        method: "vmap": all samples at once with `torch.func`, which takes memory for B gradients;
            "loop": one after the other, B backward passes; "auto": "loop" for models with recurrent
            layers or sparse embeddings, which "vmap" cannot take, else "vmap". The gradients are
            the same, except that "vmap" gives zeros to parameters that take no part, "loop" none.
        chunk_size: samples at once under "vmap"; None: all.
        nonfinite: what happens to a step whose gradient holds NaN or inf: "skip" removes its
            gradients, "raise" stops and names the parameters, "zero" sets the bad elements to zero,
            "pass" lets them through; see `Guard`.
        patience: number of such steps in a row at which NonFiniteGradientError is raised; None
            bears any number.

    `backward` stands in place of `loss.backward()`; the call before `step()` is as usual::

    clipper = ClipPerSample(1.0).attach(model=model)
        loss = clipper.backward(loss_of, batch)
        report = clipper(model)

    `GradientClipping` does that by itself with the module's `loss(batch)`, at the cost of one
    more backward pass. In the report the parts are the samples: `norm` is the root mean square
    of their norms, `clipped_share` the share of them that was over C. Under the policy "zero"
    samples whose gradient is not finite are left out of the sum (B counts them).

    Dropout draws for every sample anew. Batch normalisation mixes samples and is refused. State:
    two integers and the guard's. Raises ValueError for arguments that make no sense.
    """

    needs_samples = True

    def __init__(
        self,
        max_norm: float = 1.0,
        *,
        response: SampleResponse = "flat",
        gamma: float = 0.01,
        tail_index: float | None = None,
        method: Method = "auto",
        chunk_size: int | None = None,
        nonfinite: Policy = "skip",
        patience: int | None = None,
    ) -> None:
        super().__init__([NoClip(nonfinite=nonfinite, patience=patience)], 2.0)
        self.max_norm = check_finite("max_norm", max_norm)
        self.response = check_choice("response", response, get_args(SampleResponse))
        self.gamma = check_finite("gamma", gamma)
        self.tail_index = None if tail_index is None else _check_index(tail_index)
        self.method = check_choice("method", method, get_args(Method))
        if chunk_size is not None:
            chunk_size = check_integer("chunk_size", chunk_size, others=" or None")
        self.chunk_size = chunk_size
        self.leaves_out = nonfinite == "zero"
        self._model: list[nn.Module] = []  # in a list, so that it is no submodule
        self._seen: list[_Seen] = []

    def attach(self, *, model: nn.Module | None = None, optimizer: Optimizer | None = None) -> Self:
        """Take this model apart by samples; raises ValueError for one that mixes them."""
        model, optimizer = self._together(model, optimizer)
        if model is None:
            raise ValueError("ClipPerSample needs the model: call clipper.attach(model=model)")
        for name, module in model.named_modules():
            _check_apart(name, module)
        if self.method == "vmap" and recurrent_or_sparse(model):
            raise ValueError(
                "method must be 'auto' or 'loop' for a model with recurrent layers or sparse "
                "embeddings, got 'vmap'"
            )
        super().attach(model=model, optimizer=optimizer)
        self._model = [model]
        return self

    def _unhook(self) -> None:
        """Forget the model."""
        super()._unhook()
        self._model, self._seen = [], []

    def backward(self, loss_of: LossOf, batch: Any, *, weight: float = 1.0) -> Tensor:
        """Add `weight` times the mean of the clipped gradients to `.grad`; return the mean loss.

        Examples:
            >>> import torch
            >>> from gradclip_core import ClipPerSample
            >>> model = torch.nn.Linear(1, 1, bias=False)
            >>> clipper = ClipPerSample(1.0).attach(model=model)
            >>> batch = torch.tensor([[0.5], [9.0]])
            >>> loss = clipper.backward(lambda batch: model(batch).mean(), batch)
            >>> model.weight.grad
            tensor([[0.7500]])

        Args:
            loss_of: the loss of a batch, 0-d, by the attached model: a mean over its samples.
            batch: a tensor, or tuples, lists and dicts of tensors, whose first dimension is
                samples.
            weight: factor of what is added.

        Raises SampleError for another batch, ValueError if no model is attached.
        """
        params, size = self._params(), num_samples(batch)
        for name, module in self._model[0].named_modules():
            _check_apart(name, module)
        loops = self.method == "loop" or (
            self.method == "auto" and recurrent_or_sparse(self._model[0])
        )
        if loops:
            chunks = one_by_one(loss_of, batch, params)
        else:
            chunks = at_once(self._model[0], loss_of, batch, params, self.chunk_size or size)
        sums: list[Tensor | None] = [None] * len(params)
        losses: list[Tensor] = []
        for grads, loss in chunks:
            shares = self._clip(grads, loss.device, sum(len(before) for before in losses))
            losses.append(loss)
            sums = [_plus(s, share) for s, share in zip(sums, shares, strict=True)]
        for param, value in zip(params.values(), sums, strict=True):
            if value is not None:
                param.grad = _plus(param.grad, (value * (weight / size)).to(param.dtype))
        return torch.cat(losses).mean()

    @torch.no_grad()
    def forward(self, parameters: Parameters, *, loss: Tensor | None = None) -> ClipReport:
        """Report on the samples since the last call, and apply the guard to their mean."""
        gradients = collect(parameters)
        seen, self._seen = self._seen, []
        if gradients.grads and not seen:
            raise ValueError(
                "ClipPerSample clips in the backward pass: call clipper.backward(loss_of, batch) "
                "in place of loss.backward()"
            )
        report: ClipReport = self.clippers[0](as_groups(gradients))
        self.last_report = self._counted(self._of_samples(seen, report)) if seen else report
        return self.last_report

    def _params(self) -> dict[str, nn.Parameter]:
        if not self._model:
            raise ValueError("ClipPerSample has no model: call clipper.attach(model=model) first")
        return {n: p for n, p in self._model[0].named_parameters() if p.requires_grad}

    @torch.no_grad()
    def _clip(
        self, grads: list[Tensor | None], device: torch.device, first: int
    ) -> list[Tensor | None]:
        """The sums of the clipped gradients of some samples, (b, ...), by parameter.

        first: how many samples of the batch came before them.
        """
        squares = [None if grad is None else _norms(grad).to(device) for grad in grads]
        size = next((len(values) for values in squares if values is not None), 0)
        nothing = torch.zeros(size, dtype=torch.float64, device=device)
        each = torch.stack([nothing if v is None else v for v in squares], dim=1)
        norms = torch.linalg.vector_norm(each, dim=1)
        usable = norms.isfinite() if self.leaves_out else torch.ones_like(norms, dtype=torch.bool)
        bounds = self._bounds(norms, first)
        factors = torch.where(usable, self._factors(norms, bounds), 0.0)
        if self.leaves_out:
            norms, each = norms.where(usable, 0.0), each.where(usable.unsqueeze(1), 0.0)
        self._seen.append((norms, norms * factors, bounds, each))
        return [None if grad is None else _sum(grad, factors, usable) for grad in grads]

    def _bounds(self, norms: Tensor, first: int) -> Tensor:
        """The thresholds of the samples that follow the first so many of a batch, (b,)."""
        if self.tail_index is None:
            return torch.full_like(norms, self.max_norm)
        places = torch.arange(first + 1, first + 1 + len(norms), device=norms.device)
        return self.max_norm * places.to(norms.dtype) ** (1 / self.tail_index)

    def _factors(self, norms: Tensor, bounds: Tensor) -> Tensor:
        if self.response == "automatic":
            return bounds / (norms + self.gamma)
        if self.response == "drop":
            return torch.where(norms.isnan(), math.nan, (norms <= bounds).to(norms))
        return (bounds / norms).clamp(max=1.0)  # 1 for a norm of 0

    def _of_samples(self, seen: list[_Seen], guarded: ClipReport) -> ClipReport:
        """The report whose parts are samples, after what the guard did to their mean."""
        norms, clipped, bounds, each = (torch.cat(column) for column in zip(*seen, strict=True))
        return ClipReport(
            norms=norms,
            clipped_norms=torch.where(guarded.skipped, norms, clipped),
            thresholds=bounds,
            over=norms > bounds,
            parameter_norms=each.square().mean(0).sqrt(),
            skipped=guarded.skipped,
            clip_rate=guarded.clip_rate,
            skipped_steps=guarded.skipped_steps,
            norm_type=2.0,
            names=plain_names(list(self._params()), self._model[0]),
            weights=torch.full_like(norms, len(norms) ** -0.5),
        )

    def __getstate__(self) -> dict[str, Any]:
        return super().__getstate__() | {"_model": [], "_seen": []}


def _check_index(tail_index: float) -> float:
    allowed = "a finite number > 0 or None"
    return check_number("tail_index", tail_index, allowed, lambda x: 0 < x < math.inf)


def _norms(grad: Tensor) -> Tensor:
    """The 2-norm of each sample's gradient, (b,); one of a sparse gradient."""
    values = grad.coalesce().values() if grad.is_sparse else grad
    flat = values.reshape(1 if grad.is_sparse else len(grad), -1)
    norms: Tensor = torch.linalg.vector_norm(flat, dim=1, dtype=torch.float64)
    return norms


def _sum(grad: Tensor, factors: Tensor, usable: Tensor) -> Tensor:
    """The sum over samples of factor times gradient; those not usable count as zero."""
    wide = torch.promote_types(grad.dtype, torch.float32)
    factors, usable = factors.to(grad.device, wide), usable.to(grad.device)
    if grad.is_sparse:
        whole = grad.coalesce()
        values = torch.where(usable, whole.values().to(wide) * factors, 0.0)
        index, shape = whole.indices()[1:], grad.shape[1:]
        return torch.sparse_coo_tensor(
            index, values, shape, device=values.device, check_invariants=False
        )
    column = [-1] + [1] * (grad.ndim - 1)
    scaled = grad.to(wide) * factors.view(column)
    return torch.where(usable.view(column), scaled, 0.0).sum(0)


def _check_apart(name: str, module: nn.Module) -> None:
    """Raise ValueError for a layer that mixes samples: batch statistics, unless they are frozen."""
    mixes = isinstance(module, nn.modules.batchnorm._BatchNorm)
    if mixes and (module.training or module.running_mean is None):
        raise ValueError(
            f"ClipPerSample cannot take {name or type(module).__name__} apart by samples: batch "
            "normalisation mixes them; put it in eval(), or use nn.GroupNorm or nn.LayerNorm"
        )


def _plus(sum_: Tensor | None, share: Tensor | None) -> Tensor | None:
    if sum_ is None or share is None:
        return share if sum_ is None else sum_
    return sum_ + share
