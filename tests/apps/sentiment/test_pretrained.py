"""An encoder in a folder: read as transformers reads it, frozen or trained, mistakes in a line."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from apps.base.torchaudio_import import import_torchaudio
from apps.run.folder import RunFolder
from apps.sentiment.encoding import Encoding
from apps.sentiment.pretrained import EncoderWords, Pretrained
from apps.sentiment.vocabulary import FIRST
from tests.apps.runs import metrics
from tests.apps.sentiment.conftest import BAD, GOOD, THINGS
from tests.conftest import refused, succeed

TINY = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
SHORT = ["app.max_length=30", "optimizer.lr=0.02"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of 16 units, drawn at random, as transformers saves it."""
    import_torchaudio()
    import transformers

    path = tmp_path_factory.mktemp("encoder") / "tiny"
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "is", "of", "it", ",", "part"]
    words += [*GOOD, *BAD[:4], "bro", "##ken", "plain", *THINGS]
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=len(words), intermediate_size=16, max_position_embeddings=40, **TINY
    )
    transformers.BertModel(config).save_pretrained(path)
    numbers = {word: i for i, word in enumerate(words)}
    transformers.BertTokenizer(vocab=numbers, model_max_length=40).save_pretrained(path)
    return path


def theirs(folder: Path, text: str) -> tuple[list[int], torch.Tensor]:
    """Numbers and states of a text by transformers alone."""
    import transformers

    tokenizer: Any = transformers.AutoTokenizer.from_pretrained(folder)
    inputs = tokenizer(text, return_tensors="pt")
    with torch.no_grad():
        states = transformers.AutoModel.from_pretrained(folder)(**inputs).last_hidden_state
    return inputs["input_ids"][0].tolist(), states


def test_texts_are_read_as_the_encoder_was_trained_to(folder):
    vocabulary = EncoderWords(str(folder)).build([], [])
    text = "The screen is broken, zzz [SEP]"
    numbers, _ = theirs(folder, "The screen is broken, zzz")
    ids = vocabulary.encode("The screen is broken, zzz", 30)
    assert (ids - FIRST).tolist() == numbers
    assert [piece.word for piece in vocabulary.read(text)][3:5] == ["broken", "broken"]
    assert vocabulary.unknown_share(ids) == pytest.approx(1 / 7)
    assert vocabulary.encode("", 30).tolist() == []
    assert vocabulary.encode("[SEP]", 30)[1] == vocabulary.unknown, "what somebody wrote"
    encoding = Encoding(vocabulary, 30, None, 0, "text")
    again = Encoding.from_dict(json.loads(json.dumps(encoding.to_dict())))
    assert again.encode([text])[0].tolist() == encoding.encode([text])[0].tolist()


def test_states_are_those_of_transformers_and_padding_changes_nothing(folder):
    net = Pretrained(9, 0, 0, 2, str(folder), pooling="last").eval()
    numbers, states = theirs(folder, "the film is good")
    words = torch.tensor([[FIRST + number for number in numbers]])
    expected = net.output(states[:, -1])
    torch.testing.assert_close(net(words), expected)
    longer = torch.tensor([[*words[0].tolist(), 0, 0], [7, 8, 9, 0, 0, 0, 0, 0]])
    torch.testing.assert_close(net(longer)[:1], expected)
    assert net(torch.zeros(1, 3, dtype=torch.long)).isfinite().all()


@pytest.fixture(scope="module")
def frozen_run(folder, rated, tmp_path_factory) -> Path:
    run = tmp_path_factory.mktemp("frozen") / "run"
    columns = [x for x in rated if not x.startswith(("model.", "training."))]
    model = ["model=pretrained", f"model.path={folder}", "training.epochs=6"]
    succeed("train", *columns, *model, *SHORT, f"run_dir={run}")
    return run


def weights(run: Path, name: str) -> torch.Tensor:
    folder = RunFolder(run)
    return folder.load_checkpoint(folder.best)["state_dict"][f"net.encoder.{name}"]


WEIGHT = "encoder.layer.0.intermediate.dense.weight"


def test_a_frozen_encoder_stays_and_what_is_on_top_learns(frozen_run, folder):
    import transformers

    saved = transformers.AutoModel.from_pretrained(folder).state_dict()[WEIGHT]
    torch.testing.assert_close(weights(frozen_run, WEIGHT), saved)
    assert metrics(frozen_run)["test"]["r"] > 0.5
    assert "label" in succeed("predict", f"run={frozen_run}", "text=the film is superb")


def test_an_encoder_is_trained_where_it_is_not_frozen(folder, rated, tmp_path):
    import transformers

    run = tmp_path / "run"
    columns = [x for x in rated if not x.startswith(("model.", "training."))]
    model = ["model=pretrained", f"model.path={folder}", "model.frozen=false", "training.epochs=3"]
    succeed("train", *columns, *model, *SHORT, f"run_dir={run}")
    saved = transformers.AutoModel.from_pretrained(folder).state_dict()[WEIGHT]
    assert (weights(run, WEIGHT) - saved).abs().max() > 1e-3
    assert metrics(run)["test"]["accuracy"] > 0.9
    assert "superb +" in succeed("predict", f"run={run}", "text=the film is superb")


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["model.path=nowhere"], "model.path=nowhere: no such folder"),
        (["model.path=."], "model.path=.: holds no encoder: "),
        (["app.max_length=256"], "app.max_length=256: the encoder reads at most 38"),
        (
            ["model.dropout=1", "app.max_length=30"],
            "dropout must be a share in [0, 1)",
        ),
        (["vocabulary=words", "app.max_length=30"], "allowed: vocabulary=pretrained"),
        (["vectors=glove"], "vectors of words need vocabulary=words"),
    ],
)
def test_encoders_that_do_not_do(folder, rated, empty_folder, overrides, expected):
    columns = [x for x in rated if not x.startswith("model.")]
    model = ["model=pretrained", f"model.path={folder}"]
    assert expected in refused("train", *columns, *model, *overrides, "run_dir=run")


def test_other_networks_have_no_use_for_its_vocabulary(folder, rated, empty_folder):
    own = ["vocabulary=pretrained", f"vocabulary.path={folder}", "app.max_length=30"]
    assert "needs vocabulary=words or vocabulary=subword" in refused("train", *rated, *own)
    own.append("ridge=none")
    assert "is for model=pretrained alone" in refused("train", *rated, *own, "run_dir=run")


def test_a_run_whose_encoder_is_gone(frozen_run, empty_folder):
    run = Path(shutil.copytree(frozen_run, empty_folder / "run"))
    config = (run / "config.yaml").read_text()
    path = RunFolder(run).config().model.path
    (run / "config.yaml").write_text(config.replace(path, "gone"))
    assert "model.path=gone: no such folder" in refused("predict", f"run={run}", "text=hello")


def test_without_the_packages_one_line_says_what_to_install(monkeypatch, folder, rated, tmp_path):
    monkeypatch.setitem(sys.modules, "transformers", None)
    columns = [x for x in rated if not x.startswith("model.")]
    line = refused("train", *columns, "model=pretrained", f"model.path={folder}")
    assert "model=pretrained: needs the package transformers" in line
    assert "pip install --editable './apps[text]'" in line
