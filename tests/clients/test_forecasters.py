"""NeuralForecast and Darts, which make a Trainer of their own: a callback, and a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

pytest.importorskip("lightning.pytorch", reason="lightning is not installed")

from gradclip_core import ClipNorm, Median
from gradclip_core.lightning import GradientClipping

pytestmark = pytest.mark.filterwarnings("ignore")

QUIET: dict[str, Any] = {
    "accelerator": "cpu",
    "logger": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}
BOUND = 0.05


def series() -> np.ndarray:
    made = np.random.default_rng(0)
    return (np.sin(np.arange(200) / 5) + made.normal(scale=0.3, size=200)).astype("float32")


def test_neuralforecast_shows_the_report_on_the_callers_callback() -> None:
    neuralforecast = pytest.importorskip("neuralforecast", reason="neuralforecast is not installed")
    from neuralforecast.models import MLP

    times = pd.date_range("2024-01-01", periods=200, freq="D")
    table = pd.DataFrame({"unique_id": "a", "ds": times, "y": series()})

    def fitted(**settings: Any) -> list[torch.Tensor]:
        model = MLP(
            h=4, input_size=12, hidden_size=8, max_steps=10, random_seed=0, **QUIET, **settings
        )
        forecasts = neuralforecast.NeuralForecast(models=[model], freq="D")
        forecasts.fit(table)
        return [param.detach() for param in forecasts.models[0].parameters()]

    callback = GradientClipping(ClipNorm(BOUND))
    ours, theirs = fitted(callbacks=[callback]), fitted(gradient_clip_val=BOUND)
    # Float32: norms that differ in their last digit, through ten steps of Adam.
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    assert callback.last_report is not None
    assert float(callback.last_report.clip_rate) > 0


def test_darts_clips_and_loads_its_checkpoint(tmp_path: Path) -> None:
    darts = pytest.importorskip("darts", reason="darts is not installed")
    from darts.models import NBEATSModel

    def made(**settings: Any) -> Any:
        return NBEATSModel(
            input_chunk_length=12,
            output_chunk_length=4,
            num_stacks=1,
            num_blocks=1,
            layer_widths=8,
            n_epochs=1,
            random_state=0,
            work_dir=str(tmp_path),
            model_name="clipped",
            force_reset=True,
            pl_trainer_kwargs=QUIET | settings,
        )

    values = darts.TimeSeries.from_values(series())

    def fitted(**settings: Any) -> list[torch.Tensor]:
        model = made(**settings)
        model.fit(values)
        return [param.detach() for param in model.model.parameters()]

    callback = GradientClipping(ClipNorm(BOUND))
    ours, theirs = fitted(callbacks=[callback]), fitted(gradient_clip_val=BOUND)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    assert callback.last_report is not None
    saving = made(callbacks=[GradientClipping(ClipNorm(Median(1.0)))])
    saving.fit(values)
    saving.save(str(tmp_path / "model.pt"))
    loaded = NBEATSModel.load(str(tmp_path / "model.pt"), trusted=True)  # it pickles callbacks
    np.testing.assert_allclose(
        loaded.predict(4, values).values(), saving.predict(4, values).values()
    )


def test_neuralforecast_saves_and_loads_with_the_callback(tmp_path: Path) -> None:
    neuralforecast = pytest.importorskip("neuralforecast", reason="neuralforecast is not installed")
    from neuralforecast.models import MLP

    times = pd.date_range("2024-01-01", periods=200, freq="D")
    table = pd.DataFrame({"unique_id": "a", "ds": times, "y": series()})
    callbacks = [GradientClipping(ClipNorm(Median(1.0)))]
    model = MLP(h=4, input_size=12, hidden_size=8, max_steps=5, callbacks=callbacks, **QUIET)
    forecasts = neuralforecast.NeuralForecast(models=[model], freq="D")
    forecasts.fit(table)
    forecasts.save(str(tmp_path / "saved"), overwrite=True)
    again = neuralforecast.NeuralForecast.load(str(tmp_path / "saved"))
    pd.testing.assert_frame_equal(again.predict(table), forecasts.predict(table))


def steps_of(model: Any) -> int:
    """How many steps the clipper of a model of Darts has seen."""
    (callback,) = (held for held in model.trainer.callbacks if isinstance(held, GradientClipping))
    (clipper,) = callback.clippers
    return int(clipper.steps)


def test_darts_goes_on_from_a_checkpoint_with_the_history_of_the_threshold(tmp_path: Path) -> None:
    darts = pytest.importorskip("darts", reason="darts is not installed")
    from darts.models import NBEATSModel

    values = darts.TimeSeries.from_values(series())
    settings = {"num_stacks": 1, "num_blocks": 1, "layer_widths": 8, "random_state": 0}
    model = NBEATSModel(
        input_chunk_length=12,
        output_chunk_length=4,
        n_epochs=1,
        work_dir=str(tmp_path),
        model_name="clipped",
        save_checkpoints=True,
        pl_trainer_kwargs=QUIET | {"callbacks": [GradientClipping(ClipNorm(Median(1.0)))]},
        **settings,
    )
    model.fit(values)
    first = steps_of(model)
    again = NBEATSModel.load_from_checkpoint("clipped", str(tmp_path), best=False, trusted=True)
    again.fit(values, epochs=2)
    assert steps_of(again) == 2 * first > 0
