"""The verbs with speech: a training, its repetition, every model and preset, transcripts."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import pandas as pd
import pytest
import soundfile

from apps import CONF
from tests.apps.runs import assert_same_run, metrics, steps
from tests.apps.speech.conftest import RATE, say, write_corpus
from tests.conftest import refused, succeed
from tests.presets import suited
from tests.thinned import thinned

MODELS = sorted(path.stem for path in (CONF / "speech" / "model").glob("*.yaml"))
PRESETS = sorted(path.stem for path in (CONF / "clipping").glob("*.yaml"))


ARPA = """\\data\\
ngram 1=5
ngram 2=1

\\1-grams:
-9.0\t<unk>\t0.0
-99.0\t<s>\t0.0
-0.6\t</s>\t0.0
-0.3\tone\t0.0
-0.6\tthree\t0.0

\\2-grams:
-0.3\t<s>\tone

\\end\\
"""


@pytest.fixture(scope="session")
def heard(tones, tmp_path_factory) -> Path:
    """A run that has learnt the tones; read only."""
    path = tmp_path_factory.mktemp("speech") / "run"
    succeed("train", *tones, "training.epochs=30", "optimizer.lr=0.01", f"run_dir={path}")
    return path


def test_a_training_learns_what_it_hears(heard):
    record = metrics(heard)
    assert record["status"] == "completed"
    assert record["test"]["wer"] < 20
    assert all(math.isfinite(value) for value in record["test"].values())
    table = pd.read_parquet(heard / "predictions.parquet")
    assert {"reference", "hypothesis", "substitutions"} <= set(table)
    assert table["emissions"].notna().sum() in (1, 2)


def test_same_seed_same_run(tones, tmp_path):
    for name in ("a", "b"):
        succeed("train", *tones, f"run_dir={tmp_path / name}")
        file = tmp_path / name / "metrics.json"
        record = json.loads(file.read_text())
        del record["test"]["rtf"]  # a time
        file.write_text(json.dumps(record))
    assert_same_run(tmp_path / "a", tmp_path / "b")


@pytest.mark.parametrize("model", MODELS)
def test_every_model_trains(tones, tmp_path, model):
    own = [item for item in tones if not item.startswith("model.")]
    succeed("train", *own, f"model={model}", f"run_dir={tmp_path / 'run'}")
    assert metrics(tmp_path / "run")["status"] == "completed"


@pytest.mark.slow  # the presets are tested with energy by default; the callback is the same
@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_trains(tones, tmp_path, preset):
    succeed("train", *tones, *suited(preset), f"run_dir={tmp_path / 'run'}")
    assert metrics(tmp_path / "run")["clipping"] == preset
    assert len(steps(tmp_path / "run")) > 0


def test_evaluate_prints_the_score_beside_pocketsphinx(heard):
    out = succeed("evaluate", f"run={heard}")
    assert "pocketsphinx" in out
    wer = metrics(heard)["test"]["wer"]
    assert f"{wer:.2f}" in out


def test_a_finished_run_takes_another_decoder(heard, corpus, tmp_path):
    model = tmp_path / "words.arpa"
    # A model that has never heard of "two" costs the words that were recognised as such.
    model.write_text(ARPA)
    lm = ["decoder=beam", f"decoder.lm={model}", "decoder.lm_weight=20"]
    before = (heard / "metrics.json").read_text()
    scores = {}
    for name, given in (("greedy", []), ("beam", ["decoder=beam"]), ("lm", lm)):
        out = succeed("evaluate", f"run={heard}", "baselines=false", *given)
        row = next(line for line in out.splitlines() if line.startswith(heard.name))
        scores[name] = float(row.split()[1])
    assert scores["greedy"] == pytest.approx(metrics(heard)["test"]["wer"], abs=0.01)
    assert scores["beam"] < 20 < scores["lm"]
    assert (heard / "metrics.json").read_text() == before
    out = succeed("predict", f"run={heard}", f"input={corpus}", f"output={tmp_path / 'o.csv'}", *lm)
    assert float(re.search(r"word error rate ([\d.]+)", out)[1]) > 20


@pytest.mark.usefixtures("empty_folder")
def test_a_run_without_a_decoder_refuses_one(trained):
    line = refused("evaluate", f"run={trained}", "decoder=beam")
    assert "decoder: app=energy has none" in line


def test_predict_a_folder_with_word_times(heard, tmp_path):
    (tmp_path / "in").mkdir()
    soundfile.write(tmp_path / "in" / "b.flac", say("two one", 99), RATE)
    soundfile.write(tmp_path / "in" / "a.wav", say("three", 98), RATE)
    out = succeed(
        "predict", f"run={heard}", f"input={tmp_path / 'in'}", f"output={tmp_path / 'o.csv'}"
    )
    assert "2 utterances" in out
    table = pd.read_csv(tmp_path / "o.csv")
    assert [Path(p).name for p in table["audio_filepath"]] == ["a.wav", "b.flac"]
    assert table["text"].tolist() == ["three", "two one"]
    words = json.loads(table["words"][1])
    assert [word["word"] for word in words] == ["two", "one"]
    # The tones begin at 0.1 and at 0.35 seconds; CTC may be late but not early by much.
    for word, start in zip(words, (0.1, 0.35), strict=True):
        assert start - 0.1 <= word["start"] < word["end"] <= start + 0.35


def test_predict_a_manifest_scores_it(heard, corpus, tmp_path):
    arguments = [f"run={heard}", f"input={corpus}", f"output={tmp_path / 'o.csv'}"]
    assert "word error rate" in succeed("predict", *arguments)
    table = pd.read_csv(tmp_path / "o.csv")
    assert len(table) == 40
    assert (table["text"] == table["reference"]).mean() > 0.7


def test_predict_normalises_by_speaker_as_the_evaluation_does(tones, corpus, tmp_path):
    by_speaker = ["features.normalize=speaker", "training.epochs=20", "optimizer.lr=0.01"]
    succeed("train", *tones, *by_speaker, f"run_dir={tmp_path / 'run'}")
    expected = pd.read_parquet(tmp_path / "run/predictions.parquet").set_index("audio")
    lines = [json.loads(line) for line in corpus.read_text().splitlines()]
    tested = [line for line in lines if line["audio_filepath"] in expected.index]
    for line in tested:
        line["audio_filepath"] = str(corpus.parent / line["audio_filepath"])
    manifest = tmp_path / "test.jsonl"
    manifest.write_text("".join(json.dumps(line) + "\n" for line in tested))
    out = tmp_path / "out.csv"
    account = succeed("predict", f"run={tmp_path / 'run'}", f"input={manifest}", f"output={out}")
    assert "name no speaker" not in account
    found = pd.read_csv(out, keep_default_na=False)
    found.index = [Path(path).name for path in found["audio_filepath"]]
    assert found["text"].to_dict() == expected["hypothesis"].to_dict()
    assert (found["text"] != "").any()
    folder = [f"input={corpus.parent}", f"output={out}", "overwrite=true"]
    account = succeed("predict", f"run={tmp_path / 'run'}", *folder)
    assert "40 name no speaker and were normalised each by itself" in account


@pytest.mark.usefixtures("empty_folder")
def test_predict_refuses_what_is_no_audio(heard):
    Path("a.wav").write_text("no audio")
    line = refused("predict", f"run={heard}", "input=a.wav", "output=o.csv")
    assert "a.wav: cannot be read as audio" in line
    Path("b.txt").write_text("no manifest")
    line = refused("predict", f"run={heard}", "input=b.txt", "output=o.csv")
    assert "b.txt, line 1: not JSON" in line


def _half(folder: Path) -> None:
    whole = (folder / "3.wav").read_bytes()
    (folder / "3.wav").write_bytes(whole[: len(whole) // 2])


def _no_audio(folder: Path) -> None:
    (folder / "3.wav").write_text("hello")


def _silent(folder: Path) -> None:
    _add(folder, "3.wav", " ")


def _hurried(folder: Path) -> None:
    soundfile.write(folder / "short.wav", say("one")[:900], RATE)
    _add(folder, "short.wav", "one two three one two three")


def _add(folder: Path, name: str, text: str) -> None:
    line = {"audio_filepath": name, "text": text, "speaker": "s1"}
    with (folder / "all.jsonl").open("a") as file:
        file.write(json.dumps(line) + "\n")


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (_half, "3.wav: truncated: ends after"),
        (_no_audio, "3.wav: cannot be read as audio"),
        (_silent, "all.jsonl, line 25: empty transcript"),
        (_hurried, "short.wav: 4 frames are too few for its transcript"),
    ],
)
def test_bad_recordings_in_one_line(tones, empty_folder, spoil, expected):
    manifest = write_corpus(empty_folder, 24)
    spoil(empty_folder)
    line = refused("train", *tones, f"data.path={manifest}", "app.cache=null", "run_dir=r")
    assert expected in line


@pytest.mark.usefixtures("empty_folder")
def test_samples_that_cannot_be_taken_apart_in_one_line(tones):
    own = [item for item in tones if not item.startswith("model.")]
    line = refused("train", *own, "model=conformer", "clipping=per_sample", "run_dir=r")
    assert "batch normalisation mixes them" in line


def test_samples_are_clipped_one_by_one(tones, tmp_path):
    succeed("train", *tones, "clipping=per_sample", f"run_dir={tmp_path / 'run'}")
    assert metrics(tmp_path / "run")["status"] == "completed"


@pytest.mark.usefixtures("empty_folder")
@pytest.mark.parametrize(
    ("override", "expected"),
    thinned(
        [
            ("features.kind=wavelet", "app.features.kind='wavelet'"),
            ("features.sample_rate=16000", "recorded at 8000 Hz, but the features need 16000 Hz"),
            ("features.stack=50", "frames are too few for its transcript"),
            ("data.units=phones", "data.units='phones'"),
            ("data.path=none.jsonl", "none.jsonl: No such file"),
            ("model.dropout=1", "dropout must be a share"),
            ("app.batch_size=0", "batch_size must be >= 1"),
            ("app.augment.time_mask=-1", "must be >= 0"),
            ("app.augment.tempo=1", "tempo=1: must be a share, >= 0 and < 0.5"),
            ("features=mfcc app.augment.vtlp=0.1", "vtlp=0.1: needs features.kind=logmel"),
            ("features.top_db=-1", "top_db=-1: must be null, or > 0"),
            ("decoder=beam decoder.beam_size=0", "beam_size must be >= 1"),
            ("decoder=beam decoder.lm=none.arpa", "decoder.lm=none.arpa: no such file"),
        ],
        2,
    ),
)
def test_bad_values_in_one_line(tones, override, expected):
    line = refused("train", *tones, "app.cache=null", *override.split(), "run_dir=r")
    assert expected in line


@pytest.mark.usefixtures("in_process")
def test_a_comparison_with_its_pictures(tones, tmp_path):
    root = tmp_path / "report"
    succeed("compare", *tones, "seeds=1", "jobs=1", f"output_dir={root}")
    pictures = {path.stem for path in (root / "figures").iterdir()}
    assert {"emissions", "errors", "learning_curves", "norm_course"} <= pictures
    assert "pocketsphinx" in (root / "report.md").read_text()
