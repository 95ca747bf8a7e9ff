"""The language model through all verbs: files, scores, baselines, answers, outliers."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import torch

from apps.base.task import Optimization
from apps.language.application import Language
from apps.language.model import Transformer
from apps.language.sources import File, Prepared
from apps.report.model.results import read_results
from data_scripts.sentiment_catalogue import DATASETS
from tests.apps.language.conftest import lines
from tests.apps.runs import assert_same_run, metrics, steps
from tests.conftest import refused, succeed


def test_texts_are_split_by_their_letters(tmp_path):
    doubled = [*lines(), *(line.upper() + "!" for line in lines())]
    pd.DataFrame({"review": doubled, "n": 1}).to_csv(tmp_path / "r.csv", index=False)
    frame = File(str(tmp_path / "r.csv")).read()
    assert frame["text"].tolist() == doubled
    half = len(frame) // 2
    assert frame["split"][:half].tolist() == frame["split"][half:].tolist()
    shares = frame["split"].value_counts(normalize=True)
    assert shares["train"] == pytest.approx(0.8, abs=0.06)


def test_a_txt_file_is_lines_or_a_table_where_a_separator_is_named(tmp_path):
    file = tmp_path / "t.txt"
    file.write_text("n\ttext\n" + "\n".join(f"{i}\t{line}" for i, line in enumerate(lines())))
    assert File(str(file)).read()["text"][1] == f"0\t{lines()[0]}"
    assert File(str(file), sep="tab").read()["text"].tolist() == lines()


def test_a_prepared_set_is_that_of_sentiment(tmp_path):
    folder = tmp_path / "sentiment" / "human_rated"
    folder.mkdir(parents=True)
    rows = {"text": ["a", "b", "c"], "domain": ["film", "shop", "film"], "split": ["train"] * 3}
    pd.DataFrame(rows | {"rating": 1.0}).to_parquet(folder / "data.parquet")
    found = Prepared("human_rated", str(tmp_path), domains=["film"]).read()
    assert found.to_dict("list") == {k: [v[0], v[2]] for k, v in rows.items()}
    assert "human_rated" in DATASETS


def test_a_run_learns_and_says_how_much(trained_text):
    found = metrics(trained_text)
    assert found["status"] == "completed"
    assert found["test"]["perplexity"] == pytest.approx(2 ** found["test"]["bits"])
    texts = pd.read_parquet(trained_text / "predictions.parquet")
    mean = np.average(texts["bits_per_character"], weights=texts["characters"])
    assert found["test"]["bits"] == pytest.approx(mean)
    epochs = pd.read_csv(trained_text / "epochs.csv")
    assert epochs["val_loss"].iloc[-1] < 0.8 * epochs["val_loss"].iloc[0]
    assert len(steps(trained_text)) == 2 * 10, "batches of 16 among 160 texts"


def test_evaluating_gives_the_score_again(trained_text):
    said = succeed("evaluate", f"run={trained_text}")
    assert f"{metrics(trained_text)['test']['bits']:.3f}" in said


def test_an_interrupted_run_is_the_run_that_was_not(tiny_text, tmp_path):
    part = tmp_path / "part"
    succeed(
        "train",
        *tiny_text,
        "optimization.schedule=constant",
        "training.epochs=1",
        f"run_dir={part}",
    )
    whole = tmp_path / "whole"
    succeed("train", *tiny_text, "optimization.schedule=constant", f"run_dir={whole}")
    config = part / "config.yaml"
    config.write_text(config.read_text().replace("epochs: 1", "epochs: 2"))
    (part / "metrics.json").unlink()
    succeed("train", f"resume={part}")
    assert_same_run(whole, part)


def test_longer_contexts_say_more_of_a_character(texts):
    application = Language("language", least_count=2)
    data = application.datamodule(File(str(texts)), seed=0)
    data.setup("fit")
    bits = {name: found.metrics["bits"] for name, found in application.baselines(data)}
    assert next(iter(bits)) == "unigram"
    assert 0 < bits.popitem()[1] < bits["unigram"] < np.log2(len(data.alphabet))


def test_baselines_are_kept_for_the_same_texts_and_alphabet_alone(texts):
    found = set()
    for settings in ({}, {"held_out": 9}, {"least_count": 60}):
        data = Language("language", **settings).datamodule(File(str(texts)), seed=0)
        data.setup("fit")
        found.add(data.fingerprint)
    assert len(found) == 3


def test_a_score_beyond_all_numbers_is_no_crash(texts):
    application = Language("language")
    data = application.datamodule(File(str(texts)), seed=0)
    data.setup("fit")
    net = Transformer(len(data.alphabet), hidden_size=8, num_heads=2)
    task = application.task(net, data.description, Optimization(torch.optim.SGD))
    with torch.no_grad():
        net.head.weight.mul_(1e6)
    scores = application.evaluate(task, data).metrics
    assert scores["bits"] > 1000
    assert scores["perplexity"] == math.inf


def test_every_fifth_batch_is_an_outlier_for_every_strategy(tiny_text, tmp_path):
    norms = {}
    for clipping in ("none", "global_norm"):
        run = tmp_path / clipping
        outliers = ("stress=outliers", "callbacks.stress.every=5", f"clipping={clipping}")
        succeed("train", *tiny_text, *outliers, f"run_dir={run}")
        norms[clipping] = steps(run)["norm"].to_numpy()
        hit = np.arange(20) % 5 == 4
        assert norms[clipping][hit].min() > 2 * norms[clipping][~hit].max()
    assert steps(tmp_path / "global_norm")["clipped_norm"].max() <= 1.0001


@pytest.mark.slow  # the report's pictures take most of it, which other comparisons draw
def test_a_comparison_has_baselines_kinds_of_text_and_spikes(tiny_text, tmp_path):
    grid = ("clipping=[none,spectral]", "seeds=1", "jobs=1", "stress=outliers")
    succeed("compare", *tiny_text, *grid, "training.epochs=6", f"output_dir={tmp_path}")
    found = read_results(tmp_path / "results.json")
    assert "unigram" in found.baselines
    assert "Loss spikes" in (tmp_path / "report.html").read_text()


def test_kinds_of_text_have_their_own_bits(texts):
    application = Language("language")
    data = application.datamodule(File(str(texts)), seed=0)
    data.setup("fit")
    assert not application.tables(data, {})
    data.frame["domain"] = np.where(np.arange(len(data.frame)) % 2, "film", "shop")
    found = {"characters": [10, 30, 5], "bits_per_character": [1.0, 2.0, 3.0]}
    predicted = pd.DataFrame({"domain": ["film", "film", "shop"], **found})
    (table,) = application.tables(data, {"unigram": predicted})
    ((row,),) = table.table.groups.values()
    assert [cell.text for cell in row] == ["unigram", "1.750", "3.000"]


def test_lstm_trains(tiny_text, tmp_path):
    few = [item for item in tiny_text if "num_" not in item]
    succeed("train", *few, "model=lstm", "training.epochs=1", f"run_dir={tmp_path / 'r'}")
    assert metrics(tmp_path / "r")["status"] == "completed"


@pytest.mark.slow  # draws a picture; other applications' advice is in the default run
def test_advice(tiny_text, tmp_path):
    given = [item for item in tiny_text if item != "logger=none"]
    folder = tmp_path / "advice"
    said = succeed("advise", *given, "training.epochs=5", "steps=50", f"output_dir={folder}")
    assert "clipping=" in said


def test_lines_get_their_bits(trained_text, tmp_path):
    (tmp_path / "a.txt").write_text("the film is good\n\nxqzj \u00e9\u00e9\u00e9\n")
    said = succeed(
        "predict",
        f"run={trained_text}",
        f"input={tmp_path / 'a.txt'}",
        f"output={tmp_path / 'o.csv'}",
    )
    assert "bits per character" in said
    found = pd.read_csv(tmp_path / "o.csv")
    assert found["characters"].tolist() == [17, 1, 9]
    assert found["bits_per_character"][2] > found["bits_per_character"][0]
    assert found["unknown"][0] == 0.0 < found["unknown"][2]
    said = succeed("predict", f"run={trained_text}", "text=the film is good")
    assert f"{found['bits_per_character'][0]:.3f}"[:4] in said


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("data.text=words", "no column 'words'"),
        ("data.val_fraction=0", "val_fraction=0"),
        ("data.path=none.txt", "none.txt"),
        ("data.encoding=x", "encoding='x'"),
        ("app.context=1", "context must be >= 2"),
        ("app.batch_size=0", "batch_size must be >= 1"),
        ("model.num_heads=3", "hidden_size=8, num_heads=3"),
        ("stress=label_noise", "what can: outliers"),
        ("data=reviews", "data=reviews: unknown; known: human_rated, text"),
    ],
)
def test_a_mistake_is_one_line(tiny_text, empty_folder, argument, expected):
    given = list(tiny_text)
    if argument == "data.text=words":
        (empty_folder / "w.csv").write_text("text,n\na,1\n")
        given += ["data.path=w.csv"]
    assert expected in refused("train", *given, argument, "run_dir=r")


def test_files_without_texts_enough(tiny_text, empty_folder):
    for name, content, expected in (
        ("few.txt", "one\ntwo\n", "2 texts (one a row or line), none of them to"),
        ("blank.txt", "\n \n", "holds no text"),
        ("none.csv", "id,n\n1,2\n", "data.text: which column holds texts? there are 'id', 'n'"),
    ):
        (empty_folder / name).write_text(content)
        assert expected in refused("train", *tiny_text, f"data.path={name}", "run_dir=r")


def test_the_data_are_described(tiny_text):
    said = succeed("data", *[item for item in tiny_text if item.startswith(("app=", "data"))])
    assert "300" in said
    assert "alphabet" in said
