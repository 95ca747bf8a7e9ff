"""What docs/comparison.md says was run: the features of peers that are installed here.

What a peer lacks or gets wrong is asked beside what it has.
"""

from __future__ import annotations

import importlib.util
import io
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

Holding = Callable[..., list[nn.Parameter]]


def sparse() -> nn.Embedding:
    table = nn.Embedding(5, 2, sparse=True)
    table(torch.tensor([1, 3])).sum().backward()
    return table


def line(*gradient: float, device: str = "cpu") -> nn.Linear:
    """A layer with one row, whose gradient is this."""
    layer = nn.Linear(len(gradient), 1, bias=False, device=device)
    layer.weight.grad = torch.tensor([gradient], device=device)
    return layer


# torch


def test_torch_clips_norms_of_any_order_and_values_and_reads_nothing(holding: Holding) -> None:
    for order in (1.0, 3.0, math.inf):
        (param,) = holding(torch.tensor([3.0, 4.0]))
        nn.utils.clip_grad_norm_(param, 1.0, norm_type=order)
        left = torch.linalg.vector_norm(param.grad, order)  # type: ignore[arg-type]
        assert left.item() == pytest.approx(1.0, rel=1e-5)
    nn.utils.clip_grad_value_(param, 0.1)
    assert param.grad is not None
    assert param.grad.max().item() == pytest.approx(0.1)
    assert nn.utils.clip_grad_norm_(line(3.0, device="meta").parameters(), 1.0).is_meta


def test_torch_raises_for_nan_where_told_and_takes_complex_norms_alone(holding: Holding) -> None:
    with pytest.raises(RuntimeError, match="non-finite"):
        nn.utils.clip_grad_norm_(holding(torch.tensor([math.nan])), 1.0, error_if_nonfinite=True)
    (param,) = holding(torch.tensor([3j, 4.0]))
    assert nn.utils.clip_grad_norm_(param, 1.0).item() == pytest.approx(5.0)
    with pytest.raises(NotImplementedError):
        nn.utils.clip_grad_value_(param, 0.1)
    with pytest.raises(NotImplementedError):
        nn.utils.clip_grad_norm_(sparse().parameters(), 1.0)


# Optax


def updated(transform: Any, updates: Any, params: Any = None, steps: int = 1) -> Any:
    state = transform.init(updates if params is None else params)
    for _ in range(steps):
        left, state = transform.update(updates, state, params)
    return left


def test_optax_has_rms_schedules_masks_and_choices_for_nan() -> None:
    optax = pytest.importorskip("optax", reason="optax is not installed")
    jnp = pytest.importorskip("jax.numpy", reason="jax is not installed")
    grads = {"a": jnp.array([3.0, 4.0]), "b": jnp.array([30.0])}
    assert updated(optax.clip_by_block_rms(1.0), grads)["b"][0] == pytest.approx(1.0)
    scheduled = optax.inject_hyperparams(optax.clip)(optax.linear_schedule(4.0, 2.0, 2))
    assert updated(scheduled, grads, steps=3)["b"][0] == pytest.approx(2.0)
    parts = optax.partition({"x": optax.clip(1.0), "y": optax.identity()}, {"a": "x", "b": "y"})
    left = updated(parts, grads)
    assert (float(left["a"].max()), float(left["b"][0])) == (1.0, 30.0)
    bad = {"a": jnp.array([math.nan, 1.0])}
    assert updated(optax.zero_nans(), bad)["a"].tolist() == [0.0, 1.0]
    finite = optax.apply_if_finite(optax.clip(9.0), 3)
    assert updated(finite, bad, {"a": jnp.zeros(2)})["a"].tolist() == [0.0, 0.0]
    update = optax.chain(optax.adam(1.0), optax.clip(0.1))
    assert float(abs(updated(update, grads)["b"][0])) == pytest.approx(0.1)


def test_optax_skips_large_updates_and_clips_samples() -> None:
    optax = pytest.importorskip("optax", reason="optax is not installed")
    jnp = pytest.importorskip("jax.numpy", reason="jax is not installed")
    skips, _ = optax.skip_large_updates([jnp.array([3.0])], jnp.zeros(()), None, 1.0)
    assert bool(skips)
    sums, clipped = optax.per_example_global_norm_clip([jnp.array([[3.0], [0.5]])], 1.0)
    assert (float(sums[0][0]), int(clipped)) == (1.5, 1)


# timm and pytorch_optimizer


def test_timm_clips_units_by_their_weights() -> None:
    found = importlib.util.find_spec("timm")
    if found is None or found.origin is None:
        pytest.skip("timm is not installed")
    path = Path(found.origin).with_name("utils") / "agc.py"  # the package wants torchvision
    spec = importlib.util.spec_from_file_location("timm_agc", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    layer = line(3.0, 4.0)
    nn.init.constant_(layer.weight, 1.0)
    module.adaptive_clip_grad(layer.parameters(), 0.01)
    assert layer.weight.grad is not None
    assert layer.weight.grad.norm().item() == pytest.approx(0.01 * 2**0.5)


def test_pytorch_optimizer_clips_a_norm_and_units(holding: Holding) -> None:
    peer = pytest.importorskip("pytorch_optimizer", reason="pytorch_optimizer is not installed")
    (param,) = holding(torch.tensor([3.0, 4.0]))
    assert peer.clip_grad_norm([param], 1.0).item() == pytest.approx(5.0)
    left = peer.agc(torch.ones(1, 2), torch.tensor([[3.0, 4.0]]), agc_clip_val=0.01)
    assert left.norm().item() == pytest.approx(0.01 * 2**0.5)
    for name in ("AdaGC", "SPAM", "StableSPAM", "StableAdamW", "AdaFactor", "SafeFP16Optimizer"):
        assert callable(getattr(peer, name))


# smartclip


def smart() -> Any:
    return pytest.importorskip("smartclip", reason="smartclip is not installed")


def median_clip(**settings: Any) -> Any:
    kind = {"mode": "percentile", "percentile": 50, "history": "window"}
    return smart().AutoClip(warmup_steps=0, min_history=3, **kind, **settings)


def after(*gradient: float) -> Tensor:
    """What its median of three norms of 1 leaves of a gradient."""
    clipper, layer = median_clip(), line(*gradient)
    for each in [line(1.0, 0.0) for _ in range(3)] + [layer]:
        smart().apply(each, clipper)
    assert layer.weight.grad is not None
    return layer.weight.grad


def test_smartclip_learns_a_threshold_keeps_it_and_tells_of_each_step() -> None:
    assert after(9.0, 0.0).norm().item() == pytest.approx(1.0)
    clipper, told = median_clip(scope="per_param"), []
    for size in (1.0, 2.0, 3.0):
        smart().apply(line(size), clipper, on_metrics=told.append)
    assert [row["grad_norm"] for row in told] == [1.0, 2.0, 3.0]
    buffer = io.BytesIO()
    torch.save(clipper.state_dict(), buffer)
    buffer.seek(0)
    fresh = median_clip(scope="per_param")
    fresh.load_state_dict(torch.load(buffer, weights_only=True))
    key = told[0]["key"]
    assert fresh.threshold(key) == clipper.threshold(key) == 2.0


def test_smartclip_lets_nan_through_makes_it_of_inf_and_reads_the_device() -> None:
    assert after(math.nan, 1.0).isnan().all()
    assert after(math.inf, 1.0).isnan().any()
    with pytest.raises(RuntimeError):
        smart().apply(line(1.0, device="meta"), median_clip())
    with pytest.raises(RuntimeError):
        smart().apply(sparse(), median_clip())


def test_smartclip_clips_all_parameters_for_each_optimizer() -> None:
    net = nn.Sequential(line(1.0), line(1.0))
    steps, told = [torch.optim.SGD(layer.parameters(), 0.1) for layer in net], []
    clipper = smart().AGC(scope="per_param")
    with (
        smart().clip_context(net, steps[0], clipper, on_metrics=told.append),
        smart().clip_context(net, steps[1], clipper, on_metrics=told.append),
    ):
        for step in steps:
            step.step()
    assert len(told) == 4  # twice two parameters


# AdamWClip


def adamw_clip(*gradients: Tensor, warm_up: int = 1) -> tuple[Any, nn.Parameter]:
    peer = pytest.importorskip("AdamWClip", reason="AdamWClip is not installed")
    param = nn.Parameter(torch.zeros_like(gradients[0]))
    optimizer = peer.AdamWClip([param], clip_grad_warm_up=warm_up)
    for gradient in gradients:
        param.grad = gradient.clone()
        optimizer.step()
    return optimizer, param


def test_adamw_clip_cuts_elements_at_deviations_but_the_first_step_at_1e10() -> None:
    _, param = adamw_clip(torch.ones(2), torch.tensor([9.0, 0.1]))
    torch.testing.assert_close(param.grad, torch.tensor([3.0, 0.1]))
    _, param = adamw_clip(torch.tensor([1.0, -2.0]), warm_up=0)
    torch.testing.assert_close(param.grad, torch.tensor([1e-10, -1e-10]), rtol=1e-6, atol=0)


def test_adamw_clip_lets_nan_through_and_forgets_its_steps() -> None:
    optimizer, param = adamw_clip(torch.ones(2), torch.tensor([math.nan, 0.1]))
    assert param.isnan().tolist() == [True, False]
    state = optimizer.state_dict()
    assert optimizer.iteration == 2
    assert "iteration" not in {*state, *state["state"][0], *state["param_groups"][0]}
