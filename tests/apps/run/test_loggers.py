"""Loggers: what they wrote is read back and equals the run's own record."""

from __future__ import annotations

import json
import sqlite3
import sys
from contextlib import closing

import pandas as pd
import pytest

from tests.conftest import refused, succeed


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


@pytest.mark.filterwarnings("ignore")
def test_mlflow_keeps_configuration_losses_clipping_and_scores(train, tmp_path):
    pytest.importorskip("mlflow")
    uri = f"logger.tracking_uri=sqlite:///{tmp_path / 'mlflow.db'}"
    run = train("logger=mlflow", uri, "clipping.max_norm=0.1", "trainer.log_every_n_steps=1")
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as database:
        [(uuid, status)] = database.execute("select run_uuid, status from runs").fetchall()
        params = dict(database.execute("select key, value from params"))
        logged = pd.read_sql_query("select key, step, value from metrics order by step", database)
    assert (run / "mlflow_run").read_text().strip() == uuid
    assert status == "FINISHED"
    assert (params["clipping/max_norm"], params["choices/clipping"]) == ("0.1", "global_norm")
    assert params["data/target"] == "load"
    values = logged.groupby("key")["value"].apply(list)
    assert values["val/loss"] == pytest.approx(
        list(pd.read_csv(run / "epochs.csv")["val_loss"][1:])
    )
    steps = pd.read_csv(run / "steps.csv")
    assert values["grad/norm"] == pytest.approx(list(steps["norm"]))
    assert values["grad/clipped_norm"] == pytest.approx(list(steps["clipped_norm"]))
    record = json.loads((run / "metrics.json").read_text())
    assert values["test/wql"] == [record["test"]["wql"]]
    assert values["clip_rate"] == [record["clip_rate"]]


@pytest.fixture
def job(tmp_path, monkeypatch):
    """The environment that a job of Azure ML hands over, with a run that it has made."""
    client = pytest.importorskip("mlflow").MlflowClient(f"sqlite:///{tmp_path / 'job.db'}")
    place = (tmp_path / "artifacts").as_uri()
    experiment = client.create_experiment("clipping", artifact_location=place)
    made = client.create_run(experiment).info.run_id
    monkeypatch.setenv("MLFLOW_TRACKING_URI", client.tracking_uri)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "clipping")
    monkeypatch.setenv("MLFLOW_RUN_ID", made)
    return client, experiment, made


@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("quick_baselines")
def test_mlflow_goes_on_in_the_run_of_a_job_and_keeps_a_run_folder(train, tmp_path, job):
    client, experiment, made = job
    run = train("logger=mlflow", "logger.log_model=true")
    assert [found.info.run_id for found in client.search_runs([experiment])] == [made]
    assert client.get_run(made).info.status == "FINISHED"
    assert client.get_run(made).data.params["data/target"] == "load"
    loaded = tmp_path / "loaded"
    loaded.mkdir()
    client.download_artifacts(made, "run", str(loaded))
    assert {path.name for path in (loaded / "run").iterdir()} >= {"config.yaml", "metrics.json"}
    assert [path.name for path in (loaded / "run" / "checkpoints").iterdir()] == ["best.ckpt"]
    scores = succeed("evaluate", f"run={loaded / 'run'}")
    assert scores.splitlines()[0] == succeed("evaluate", f"run={run}").splitlines()[0]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_runs_side_by_side_in_a_job_are_mlflow_runs_of_their_own(tiny, tmp_path, job):
    client, experiment, made = job
    place = f"run_dir={tmp_path}/${{seed}}"
    succeed("train", "--multirun", *tiny, "logger=mlflow", "seed=0,1", place)
    runs = {found.info.run_id: found.data.params for found in client.search_runs([experiment])}
    assert runs.pop(made) == {}
    assert sorted(params["seed"] for params in runs.values()) == ["0", "1"]


@pytest.mark.filterwarnings("ignore")
def test_mlflow_that_is_missing_or_out_of_reach_is_said_in_a_line(tiny, monkeypatch, empty_folder):
    pytest.importorskip("mlflow")
    line = refused("train", *tiny, "logger=mlflow", "logger.tracking_uri=nowhere://x")
    assert "logger.tracking_uri=nowhere://x: " in line
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "nowhere://y")
    assert "MLFLOW_TRACKING_URI=nowhere://y: " in refused("train", *tiny, "logger=mlflow")
    monkeypatch.setitem(sys.modules, "mlflow", None)
    line = refused("train", *tiny, "logger=mlflow")
    assert "logger=mlflow: needs mlflow; pip install" in line
