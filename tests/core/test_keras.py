"""Keras on PyTorch: the weights of Keras' own clipping, every strategy, skipped steps."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

keras = pytest.importorskip("keras", reason="keras is not installed")
if keras.backend.backend() != "torch":
    pytest.skip("keras was imported with another backend", allow_module_level=True)

from gradclip_core import (  # noqa: E402
    ClipNorm,
    Clipper,
    ClipPerSample,
    ClipUpdate,
    ClipValue,
    Percentile,
    Relative,
    UClip,
)
from gradclip_core.keras import clipped_keras  # noqa: E402

# Keras hands its tensors to NumPy in a way that NumPy is about to change.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation")

OWN: dict[str, tuple[dict[str, float], Callable[[], Clipper]]] = {
    "norm of the whole": ({"global_clipnorm": 0.1}, lambda: ClipNorm(0.1)),
    "norm of each": ({"clipnorm": 0.1}, lambda: ClipNorm(0.1, by="parameter")),
    "value": ({"clipvalue": 0.01}, lambda: ClipValue(0.01)),
}


def make_model(optimizer: Any) -> Any:
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Dense(4, "tanh", name="body"), keras.layers.Dense(1, name="head")]
    model = keras.Sequential([keras.Input((3,)), *layers])
    model.compile(optimizer=optimizer, loss="mse")
    return model


def data(bad: bool = False) -> tuple[np.ndarray, np.ndarray]:
    made = np.random.default_rng(0)
    x, y = made.normal(size=(16, 3)).astype("float32"), made.normal(size=(16, 1)).astype("float32")
    if bad:
        y[5] = math.inf
    return x, y * 10


def fitted(optimizer: Any, *, epochs: int = 3, bad: bool = False) -> list[np.ndarray]:
    model = make_model(optimizer)
    x, y = data(bad)
    model.fit(x, y, batch_size=4, epochs=epochs, shuffle=False, verbose=0)
    return [np.array(weight) for weight in model.get_weights()]


def optimizers(**settings: Any) -> dict[str, Any]:
    return {
        "sgd": keras.optimizers.SGD(0.1, **settings),
        "adam": keras.optimizers.Adam(0.02, weight_decay=0.01, **settings),
        "accumulated": keras.optimizers.Adam(0.02, gradient_accumulation_steps=2, **settings),
        "scaled": keras.optimizers.SGD(0.1, loss_scale_factor=64.0, **settings),
        "loss scale": keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1, **settings)),
    }


@pytest.mark.parametrize("kind", ["sgd", "adam", "accumulated", "scaled", "loss scale"])
@pytest.mark.parametrize("own", OWN)
def test_weights_are_those_of_keras_own_clipping(own: str, kind: str) -> None:
    setting, make = OWN[own]
    clipper = make()
    ours = fitted(clipped_keras(optimizers()[kind], clipper))
    theirs, free = fitted(optimizers(**setting)[kind]), fitted(optimizers()[kind])
    for one, other in zip(ours, theirs, strict=True):
        # A dozen float32 steps, in which the norms differ in their last digit.
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
    assert any(
        not np.allclose(one, other, atol=1e-3) for one, other in zip(ours, free, strict=True)
    )
    assert clipper.steps.item() == (6 if kind == "accumulated" else 12)
    assert clipper.last_report is not None


def test_strategies_that_keras_lacks_know_the_names_and_weights() -> None:
    rules: list[Any] = [
        ClipNorm(Percentile(30)),
        ClipNorm(Relative(0.01), by="row", exclude="head"),
        UClip(ClipNorm(0.1)),
    ]
    for rule in rules:
        assert all(np.isfinite(w).all() for w in fitted(clipped_keras(optimizers()["adam"], rule)))
        assert float(rule.last_report.clip_rate) > 0
    assert rules[1].last_report.names == ["sequential/body/kernel", "sequential/body/bias"] or [
        name.endswith(("body/kernel", "body/bias")) for name in rules[1].last_report.names
    ] == [True, True]


@pytest.mark.parametrize("kind", ["sgd", "adam"])
def test_a_skipped_step_changes_neither_weights_nor_state(kind: str) -> None:
    clipper = ClipNorm(0.1)
    model = make_model(clipped_keras(optimizers()[kind], clipper))
    x, y = data()
    model.train_on_batch(x[:4], y[:4])
    before = [np.array(w) for w in model.get_weights()]
    state = [np.array(v.value.detach()) for v in model.optimizer.variables[2:]]
    model.train_on_batch(x[4:8], np.full_like(y[4:8], np.inf))
    assert bool(clipper.last_report.skipped)  # type: ignore[union-attr]
    for one, other in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(one, other)
    for variable, kept in zip(model.optimizer.variables[2:], state, strict=True):
        np.testing.assert_array_equal(np.array(variable.value.detach()), kept)
    model.train_on_batch(x[8:12], y[8:12])
    assert any((one != other).any() for one, other in zip(model.get_weights(), before, strict=True))


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"^adam\w* clips already, by clipnorm=0\.5: two would clip"
    ):
        clipped_keras(keras.optimizers.Adam(clipnorm=0.5), ClipNorm(1.0))
    twice = clipped_keras(keras.optimizers.SGD(), ClipNorm(1.0))
    with pytest.raises(ValueError, match="by another clipper: two would clip twice"):
        clipped_keras(twice, ClipNorm(1.0))
    for rule in (ClipUpdate(1.0), ClipPerSample(1.0)):
        with pytest.raises(ValueError, match="needs a torch optimizer or samples"):
            clipped_keras(keras.optimizers.SGD(), rule)
    with pytest.raises(TypeError, match="optimizer must be one of Keras, got SGD"):
        clipped_keras(torch.optim.SGD([torch.nn.Parameter(torch.ones(1))]), ClipNorm(1.0))
    with pytest.raises(TypeError, match="clipper must be a Clipper, got float"):
        clipped_keras(keras.optimizers.SGD(), 1.0)  # type: ignore[arg-type]
