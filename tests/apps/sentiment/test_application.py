"""The verbs on the user's texts: train, evaluate, compare, predict; mistakes in one line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from apps import CONF
from tests.apps.run.test_resume import interrupted
from tests.apps.runs import assert_same_run, metrics, steps
from tests.apps.sentiment.conftest import TINY
from tests.conftest import refused, succeed
from tests.presets import suited
from tests.thinned import thinned


def predict(run: Path, name: str, content: str, folder: Path) -> tuple[pd.DataFrame, str]:
    (folder / name).write_text(content, encoding="utf-8")
    out = folder / f"{name}.out.csv"
    account = succeed("predict", f"run={run}", f"input={folder / name}", f"output={out}")
    return pd.read_csv(out), account


def test_a_network_learns_ratings_and_classes(rated_run, labelled_run):
    rated, labelled = metrics(rated_run)["test"], metrics(labelled_run)["test"]
    assert rated["accuracy"] > 0.95
    assert rated["r"] > 0.7
    assert rated["accuracy_shop"] is not None
    assert labelled["accuracy"] > 0.9
    assert labelled["r"] is None


def test_what_is_averaged_with_a_network_is_told_apart_from_it(rated, labelled, tmp_path):
    for name, overrides in {"rated": rated, "labelled": labelled}.items():
        run = tmp_path / name
        succeed("train", *overrides, "training.epochs=1", "optimizer.lr=0", f"run_dir={run}")
        scores = metrics(run)["test"]
        assert scores["accuracy"] > 0.9, "the ridge alone knows the words"
        assert scores["network_accuracy"] < 0.75, "the network has learnt nothing, and is seen to"
        losses = pd.read_csv(run / "epochs.csv")["val_loss"]
        assert losses[0] == losses[1], "of the network alone"


def test_a_useless_network_counts_as_diverged_whatever_the_ridge_answers(rated, tmp_path):
    run = tmp_path / "run"
    wild = ["optimizer=sgd", "optimizer.lr=30", "clipping=none", "~callbacks.averaging"]
    succeed("train", *rated, *wild, f"run_dir={run}")
    assert metrics(run)["status"] == "diverged"


def test_a_network_alone_has_no_ridge(rated, rated_run, tmp_path):
    run = tmp_path / "run"
    succeed("train", *rated, "model=lstm", "training.epochs=1", f"run_dir={run}")
    scores = metrics(run)["test"]
    assert scores["network_accuracy"] == scores["accuracy"]
    record = json.loads((run / "data.json").read_text())
    assert (record["ngrams"], record["ridge_share"]) == (None, 0.0)
    state = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    assert not any("ridge" in name for name in state)
    state = torch.load(rated_run / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    assert state["ridge.weight"].shape == (
        len(json.loads((rated_run / "data.json").read_text())["ngrams"]["names"]),
        1,
    )


def test_the_ridge_stays_as_it_was_fitted(rated_run):
    # The last checkpoint holds what three epochs of averaging made of the best one's.
    found = [
        torch.load(rated_run / "checkpoints" / name, weights_only=True)["state_dict"]
        for name in ("best.ckpt", "last.ckpt")
    ]
    assert torch.equal(found[0]["ridge.weight"], found[1]["ridge.weight"])


def test_predict_answers_as_the_training_scored(rated_run, reviews_csv, tmp_path):
    known = pd.read_parquet(rated_run / "predictions.parquet")
    known[["text"]].to_csv(tmp_path / "test.csv", index=False)
    out = tmp_path / "out.csv"
    succeed("predict", f"run={rated_run}", f"input={tmp_path / 'test.csv'}", f"output={out}")
    found = pd.read_csv(out)
    assert found["label"].tolist() == known["predicted"].tolist()
    # Six digits are written; batches of another length differ in the last digits of float32.
    np.testing.assert_allclose(found["score"], known["score"], rtol=1e-5, atol=1e-5)


def test_a_network_that_learns_the_polarity_too_is_read_by_its_rating(rated, tmp_path):
    run = tmp_path / "run"
    succeed("train", *rated, "app.polarity_weight=0.5", f"run_dir={run}")
    assert metrics(run)["test"]["r"] > 0.7
    out = succeed("predict", f"run={run}", "text=The phone is lovely")
    assert out.split()[:2] == ["label", "positive"]
    assert "score" in out


@pytest.mark.slow
def test_evaluate_prints_the_scores_of_the_training(rated_run, tmp_path):
    run = Path(shutil.copytree(rated_run, tmp_path / "mine"))
    out = succeed("evaluate", f"run={run}")
    row = next(line for line in out.splitlines() if line.startswith("mine "))
    assert row.split()[1] == f"{metrics(run)['test']['accuracy']:.3f}"
    assert all(name in out for name in ("majority", "vader", "tfidf_logistic", "nb_svm"))


@pytest.mark.slow
def test_the_same_seed_gives_the_same_run(rated, rated_run, tmp_path):
    succeed("train", *rated, f"run_dir={tmp_path / 'again'}")
    assert_same_run(rated_run, tmp_path / "again")


@pytest.mark.slow
def test_a_resumed_run_ends_like_one_in_a_piece(monkeypatch, rated, rated_run, tmp_path):
    run = tmp_path / "run"
    interrupted(monkeypatch, 40, KeyboardInterrupt, *rated, f"run_dir={run}")
    succeed("train", f"resume={run}")
    assert_same_run(rated_run, run)


def test_train_on_one_domain_and_test_on_another_in_one_command(rated, tmp_path):
    run = tmp_path / "run"
    domains = ["data.train_domains=[shop]", "data.test_domains=[cinema]"]
    succeed("train", *rated, *domains, f"run_dir={run}")
    assert set(pd.read_parquet(run / "predictions.parquet")["domain"]) == {"cinema"}
    assert metrics(run)["test"]["accuracy"] > 0.9


@pytest.mark.usefixtures("in_process")
def test_a_comparison_has_domains_mistakes_and_pictures(rated, tmp_path):
    report = tmp_path / "report"
    more = ["clipping=[global_norm]", "seeds=1", "jobs=1", f"output_dir={report}"]
    succeed("compare", *rated, *more, "training.epochs=1")
    text = (report / "report.md").read_text()
    assert "## Scores by domain" in text
    rows = text[text.index("## Scores by domain") : text.index("## Most confident")].splitlines()
    assert sum(row.startswith("| global_norm |") for row in rows) == 2
    assert [row.strip("|* ") for row in rows if row.startswith("| *")] == ["shop", "cinema"]
    assert "## Most confident mistakes" in text
    for name in ("confusion", "reliability", "learning_curves", "norm_distribution"):
        assert (report / "figures" / f"{name}.png").stat().st_size > 5000


def test_predict_answers_every_kind_of_file_alike(rated_run, tmp_path):
    texts = ["The film is superb", "The film is dreadful", "The plot is plain"]
    lines = "".join(json.dumps({"id": i, "text": text}) + "\n" for i, text in enumerate(texts))
    files = {
        "a.txt": "\n".join(texts) + "\n",
        "a.csv": pd.DataFrame({"id": range(3), "text": texts}).to_csv(index=False),
        "a.jsonl": lines,
    }
    tables = [predict(rated_run, name, content, tmp_path)[0] for name, content in files.items()]
    for table in tables:
        pd.testing.assert_frame_equal(table.drop(columns="id", errors="ignore"), tables[0])
    assert tables[1]["id"].tolist() == [0, 1, 2]
    found = tables[0]
    assert found["label"].tolist()[:2] == ["positive", "negative"]
    assert found["score"].is_monotonic_decreasing is False
    assert found["score"][0] > found["score"][2] > found["score"][1]
    probabilities = found[["p_negative", "p_neutral", "p_positive"]]
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    assert found["words"][0].startswith("superb +")
    assert found["words"][1].startswith("dreadful -")


def test_predict_answers_one_text(rated_run, labelled_run):
    out = succeed("predict", f"run={rated_run}", "text=The phone is lovely")
    assert "positive" in out
    assert "lovely +" in out
    assert "\n1 text in" in out
    out = succeed("predict", f"run={labelled_run}", "text=The phone is lovely")
    assert out.split()[:2] == ["label", "good"]
    out = succeed("predict", f"run={rated_run}", "text= ")
    assert "label" not in out
    assert "without words and an answer: 1" in out


def test_one_text_stands_in_the_place_of_files(rated_run, empty_folder):
    line = refused("predict", f"run={rated_run}", "text=fine", "output=out.csv")
    assert "text: is answered on the spot; leave out input and output" in line


def test_one_text_may_hold_anything(rated_run):
    text = r"Good, isn't it? {50% \ \"off\"} [x] = ${yes}: <b>superb</b>!"
    assert "superb +" in succeed("predict", f"run={rated_run}", f"text={text}")


def test_awkward_texts_are_answered_or_left_open(rated_run, tmp_path):
    content = "\n".join(
        [
            "The <b>phone</b> is&nbsp;superb<br />",
            "",
            "   ",
            "superb " * 5000,
            "\u042d\u0442\u043e \u0445\u043e\u0440\u043e\u0448\u043e",
            "\U0001f600\U0001f600",
            "null",
        ]
    )
    table, account = predict(rated_run, "odd.txt", content, tmp_path)
    assert len(table) == 7
    assert table["label"].isna().tolist() == [False, True, True, False, False, False, False]
    assert table["label"][[0, 3]].tolist() == ["positive", "positive"]
    assert table["unknown"].tolist() == [0, 1, 1, 0, 1, 1, 1]
    assert "without words and an answer: 2" in account
    assert "too long for the network, the middle left out (256 words are read): 1" in account
    assert "guesses, since more words are unknown than known: 3" in account
    assert "a second" in account


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.csv", b"", "the file is empty"),
        ("a.csv", b"words\nx\n", "no column 'text'; there are words"),
        ("a.csv", b"\x00\x01\x02\xff", "neither a table in a known format nor text"),
        ("a.txt", b"", "the file is empty"),
        ("a.jsonl", b'{"words": "x"}\n', "no column 'text'"),
        ("a.jsonl", b'{"text": {"a": 1}}\n{"text": "b"}\n', "is no single text"),
        ("a.doc", b"x", "a header but no rows"),
    ],
)
def test_a_file_that_does_not_fit(rated_run, empty_folder, name, content, expected):
    (empty_folder / name).write_bytes(content)
    assert expected in refused("predict", f"run={rated_run}", f"input={name}", "output=out.csv")


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("vocabulary", None, "holds no vocabulary"),
        ("vocabulary", {"words": ["a"]}, "not a sentiment encoding"),
        ("vocabulary", {"words": ["a"], "extra": []}, "does not fit this configuration"),
        ("reading", None, "does not say how to read scores"),
        ("ridge_share", "all", "must be a share from 0 to 1"),
        ("ngrams", None, "does not fit this configuration"),
        ("ngrams", {"names": ["a"], "texts": [], "num_texts": 1}, "not a sentiment encoding"),
    ],
)
def test_a_run_whose_record_is_spoilt(rated_run, empty_folder, key, value, expected):
    run = Path(shutil.copytree(rated_run, empty_folder / "run"))
    record = json.loads((run / "data.json").read_text())
    (run / "data.json").write_text(json.dumps({**record, key: value}))
    assert expected in refused("predict", f"run={run}", "text=hello")


@pytest.mark.parametrize(
    ("override", "expected"),
    thinned(
        [
            ("app.batch_size=0", "batch_size must be >= 1"),
            ("app.max_length=none", "app.max_length='none'"),
            ("app.polarity_weight=-1", "polarity_weight must be a number >= 0, got -1"),
            ("app.polarity_weight=inf", "app.polarity_weight=inf: must be a finite number"),
            ("model.pooling=mean", "model.pooling='mean'"),
            ("model.cell=brain", "model.cell='brain'"),
            ("model.dropout=2", "dropout shares"),
            ("model=mlp", "model=mlp: unknown; known: cnn, gru, lstm, pretrained, ridge_lstm, rnn"),
            ("ridge.alpha=0", "alpha must be a number > 0, got 0"),
            ("ridge=lasso", "ridge=lasso: unknown; known: ngrams, none"),
            ("vectors=word2vec", "vectors=word2vec: unknown; known: glove, none"),
            ("data.label=stars", "name one column, label or rating"),
            ("data.test_domains=[radio]", "reviews.csv has the domains cinema, shop"),
            ("data.val_fraction=1", "must be positive shares"),
            ("data.rating=label", "'"),
        ],
        2,
    ),
)
def test_values_that_cannot_work(rated, empty_folder, override, expected):
    assert expected in refused("train", *rated, override, "run_dir=run")


def test_a_file_of_one_class(empty_folder):
    Path("one.csv").write_text("text,label\n" + "fine thing,good\n" * 40)
    line = refused("train", *TINY, "data=csv", "data.path=one.csv", "data.label=label")
    assert "one.csv: texts of one class only ('good'); two are needed" in line


@pytest.mark.slow  # networks have tests of their own
@pytest.mark.parametrize("model", ["gru", "rnn", "cnn", "transformer"])
def test_every_network_trains(rated, tmp_path, model):
    # Fewer epochs leave a Transformer no better than untrained.
    succeed("train", *rated, f"model={model}", "training.epochs=8", f"run_dir={tmp_path / 'run'}")
    assert metrics(tmp_path / "run")["status"] == "completed"


@pytest.mark.slow
@pytest.mark.parametrize("preset", sorted(p.stem for p in (CONF / "clipping").glob("*.yaml")))
def test_every_preset_clips_this_application_too(rated, tmp_path, preset):
    short = ["training.epochs=1", "+trainer.limit_train_batches=4", f"run_dir={tmp_path / 'run'}"]
    succeed("train", *rated, *suited(preset), *short)
    assert metrics(tmp_path / "run")["clipping"] == preset
    assert len(steps(tmp_path / "run")) == 4
