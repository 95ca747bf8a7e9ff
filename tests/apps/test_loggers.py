"""Loggers: what they wrote is read back and equals the run's own record."""

from __future__ import annotations

import pandas as pd
import pytest


def test_csv_is_the_default(train, tiny):
    run = train("logger=csv", "trainer.log_every_n_steps=1")
    logged = pd.read_csv(run / "logs" / "metrics.csv")
    own = pd.read_csv(run / "epochs.csv")
    assert list(logged["val/loss"].dropna()) == pytest.approx(list(own["val_loss"][1:]))


@pytest.mark.filterwarnings("ignore")
def test_tensorboard_holds_the_losses(train):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = train("logger=tensorboard")
    events = EventAccumulator(str(run / "logs"))
    events.Reload()
    points = events.Scalars("val/loss")
    own = pd.read_csv(run / "epochs.csv")
    assert [point.value for point in points][-2:] == pytest.approx(list(own["val_loss"][1:]))
