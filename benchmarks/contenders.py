"""Ways to clip the same gradients: ours with and without the compiled kernel, and the peers.

timm's AGC is its own file `timm/utils/agc.py`, loaded alone: the package wants torchvision, which
has nothing to do with it. AutoClip and ZClip are plain loops by their papers, and smartclip's rules
where it is installed; its z-score is that of a moving average.
"""

from __future__ import annotations

import importlib
import importlib.util
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import keras
import numpy as np
import optax
import torch
from pytorch_optimizer import agc
from torch import nn

from gradclip_core import ClipNorm, Clipper, ClipValue, Percentile, Relative, ZScore
from gradclip_core.parts import native

Params = list[nn.Parameter]
Clip = Callable[[Params], object]
INF = math.inf
_kernel = native.library()


def _timm_agc() -> Any:
    """timm's function from its own file; `pip install --no-deps timm`."""
    found = importlib.util.find_spec("timm")
    if found is None or found.origin is None:
        raise SystemExit("the benchmark needs timm: pip install --no-deps timm==1.0.31")
    path = Path(found.origin).with_name("utils") / "agc.py"
    spec = importlib.util.spec_from_file_location("timm_agc", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.adaptive_clip_grad


timm_agc = _timm_agc()


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule, the call that its time is divided by, and the contenders by name.

    Each takes turns with the base alone: the code of others would push its own out of the caches,
    as no training does.
    """

    name: str
    base_name: str
    base: Clip
    contenders: dict[str, Clip]

    def without_peers(self) -> Rule:
        """The rule with ours alone beside the base."""
        mine = {name: call for name, call in self.contenders.items() if name.startswith("ours")}
        return Rule(self.name, self.base_name, self.base, mine)


_Contest = tuple[str, str, Clip, dict[str, Clip], dict[str, Clip]]


def rules(params: Params, binding: bool) -> list[Rule]:
    """Every rule with a threshold that binds always or never, for these parameters."""
    bound = 1e-3 if binding else 1e9
    share = 1e-9 if binding else 1e9
    whole = _torch_norm(bound)
    contests = [*_of_all(params, bound, whole), *_of_parts(params, bound, share, whole)]
    if not binding:  # equal norms are never over their own statistics
        contests += _with_history(whole)
    return [Rule(name, base, call, mine | others) for name, base, call, mine, others in contests]


def _of_all(params: Params, bound: float, whole: Clip) -> list[_Contest]:
    """The rules of one bound for all gradients."""
    return [
        (
            "norm",
            "clip_grad_norm_",
            whole,
            ours(lambda: ClipNorm(bound)),
            {
                "Optax (jit)": _optax(optax.clip_by_global_norm(bound), params),
                "Keras 3": _keras(global_clipnorm=bound),
            },
        ),
        (
            "inf-norm",
            "clip_grad_norm_(inf)",
            _torch_norm(bound, INF),
            ours(lambda: ClipNorm(bound, norm_type=INF)),
            {},
        ),
        (
            "value",
            "clip_grad_value_",
            lambda p: nn.utils.clip_grad_value_(p, bound),
            ours(lambda: ClipValue(bound)),
            {
                "Optax (jit)": _optax(optax.clip(bound), params),
                "Keras 3": _keras(clipvalue=bound),
            },
        ),
    ]


def _of_parts(params: Params, bound: float, share: float, whole: Clip) -> list[_Contest]:
    """The rules with a bound for each parameter or row."""
    return [
        (
            "norm of each parameter",
            "clip_grad_norm_",
            whole,
            ours(lambda: ClipNorm(bound, by="parameter")),
            {
                "loop of torch": lambda p: [nn.utils.clip_grad_norm_(one, bound) for one in p],
                "Keras 3": _keras(clipnorm=bound),
            },
        ),
        (
            "AGC",
            "timm.utils.agc",
            lambda p: timm_agc(p, clip_factor=share),
            ours(lambda: ClipNorm(Relative(share), by="row", eps=0.0)),
            {
                "Optax (jit)": _optax(optax.adaptive_grad_clip(share), params),
                "pytorch_optimizer": lambda p: _agc(p, share),
                **_smartclip("AGC", clipping=share, exclude_bias_bn=False),
            },
        ),
    ]


def _with_history(whole: Clip) -> list[_Contest]:
    """The rules whose threshold follows the norms of earlier steps."""
    auto = ours(lambda: ClipNorm(Percentile(10)))
    z = ours(lambda: ClipNorm(ZScore(cap=None)))
    autos = _smartclip("AutoClip", mode="percentile", percentile=10.0, history="window")
    zs = _smartclip("ZScoreClip")
    return [
        ("AutoClip", "clip_grad_norm_", whole, auto, {"plain loop": PlainAutoClip(), **autos}),
        ("ZClip", "clip_grad_norm_", whole, z, {"plain loop": PlainZClip(), **zs}),
    ]


def ours(make: Callable[[], Clipper]) -> dict[str, Clip]:
    """Ours by PyTorch alone, and with the compiled kernel where there is one."""
    found = {"ours, PyTorch": _with(make(), lambda: None)}
    if _kernel is not None:
        found["ours, kernel"] = _with(make(), lambda: _kernel)
    return found


def _with(clipper: Clipper, library: Any) -> Clip:
    def clip(params: Params) -> object:
        native.library = library
        return clipper(params)

    return clip


def _torch_norm(bound: float, norm_type: float = 2.0) -> Clip:
    return lambda params: nn.utils.clip_grad_norm_(params, bound, norm_type=norm_type)


def _optax(transform: Any, params: Params) -> Clip:
    """Its jitted update; the arrays are made beforehand."""
    grads = [jax.numpy.asarray(param.grad.numpy()) for param in params]  # type: ignore[union-attr]
    weights = [jax.numpy.asarray(param.detach().numpy()) for param in params]
    update = jax.jit(lambda g, w: transform.update(g, transform.init(w), w)[0])
    return lambda _: jax.block_until_ready(update(grads, weights))


def _keras(**setting: float) -> Clip:
    optimizer = keras.optimizers.SGD(**setting)
    return lambda p: optimizer._clip_gradients([param.grad for param in p])


@torch.no_grad()
def _agc(params: Params, share: float) -> None:
    for param in params:
        assert param.grad is not None
        param.grad.copy_(agc(param, param.grad, agc_clip_val=share))


def _smartclip(name: str, **settings: Any) -> dict[str, Clip]:
    """The package's rule of this name; nothing where it is not installed."""
    if importlib.util.find_spec("smartclip") is None:
        return {}
    package = importlib.import_module("smartclip")
    clipper = getattr(package, name)(**settings)
    return {"smartclip": lambda params: package.apply(nn.ParameterList(params), clipper)}


class PlainAutoClip:
    """Seetharaman et al. 2020: a list of all norms and a percentile of it."""

    def __init__(self) -> None:
        self.history: list[float] = []

    def __call__(self, params: Params) -> object:
        """Clip to the 10th percentile."""
        total = sum(p.grad.norm(2).item() ** 2 for p in params if p.grad is not None)
        self.history.append(total**0.5)
        return nn.utils.clip_grad_norm_(params, float(np.percentile(self.history, 10)))


class PlainZClip:
    """Kumar et al. 2025: moving mean and variance of the norm."""

    def __init__(self) -> None:
        self.mean, self.variance = 0.0, 0.0

    def __call__(self, params: Params) -> object:
        """Clip norms of more than 2.5 deviations over the mean."""
        squares = sum(p.grad.pow(2).sum().item() for p in params if p.grad is not None)
        norm, sd = squares**0.5, self.variance**0.5
        self.mean = 0.97 * self.mean + 0.03 * norm if self.mean else norm
        self.variance = 0.97 * self.variance + 0.03 * (norm - self.mean) ** 2
        if sd and norm > self.mean + 2.5 * sd:
            return nn.utils.clip_grad_norm_(params, self.mean)
        return None
