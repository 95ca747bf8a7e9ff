"""The data module: parts, checks of every utterance, and the cache of features."""

from __future__ import annotations

import json
import logging
import pickle
from pathlib import Path

import pytest
import soundfile
import torch

from apps.errors import UserError
from apps.speech.data import SpeechData
from apps.speech.features import FrontEnd
from apps.speech.sources import Manifest
from tests.apps.speech.conftest import RATE, say, write_corpus


def data(path: Path, cache: Path | None = None, skip_bad: bool = False, **source) -> SpeechData:
    made = SpeechData(
        Manifest(str(path), **{"units": "words", **source}),
        FrontEnd(num_bands=8),
        batch_size=4,
        seed=0,
        cache=cache,
        skip_bad=skip_bad,
    )
    made.setup("fit")
    return made


def add(manifest: Path, name: str, text: str) -> None:
    """Add a line to every part of a corpus that is already split."""
    with manifest.open("a") as file:
        file.write(json.dumps({"audio_filepath": name, "text": text, "speaker": "new"}) + "\n")


@pytest.fixture
def parts(tmp_path: Path) -> dict[str, Path]:
    """A corpus with three manifests."""
    whole = write_corpus(tmp_path, 16)
    lines = whole.read_text().splitlines()
    cuts = {"path": lines[:10], "val_path": lines[10:13], "test_path": lines[13:]}
    for name, chosen in cuts.items():
        (tmp_path / f"{name}.jsonl").write_text("\n".join(chosen) + "\n")
    return {name: tmp_path / f"{name}.jsonl" for name in cuts}


def from_parts(parts: dict[str, Path], **settings) -> SpeechData:
    others = {name: str(path) for name, path in parts.items() if name != "path"}
    return data(parts["path"], **settings, **others)


def test_parts_have_speakers_of_their_own_and_are_whole(corpus):
    made = data(corpus)
    speakers = [{u.speaker for u in made.utterances[p]} for p in ("train", "val", "test")]
    assert all(speakers)
    assert len(set.union(*speakers)) == sum(map(len, speakers)) == 12
    assert sum(len(made.utterances[p]) for p in ("train", "val", "test")) == 40
    account = made.account.lines
    assert account["train"].startswith(f"{len(made.utterances['train'])} utterances, ")
    assert account["test"].endswith(f" s, {len(speakers[2])} speakers")


def test_small_vocabularies_are_learnt_as_words_and_the_account_says_so(corpus):
    assert data(corpus, units=None).account.lines["tokens"] == (
        "3 words of the training transcripts, as suits them (data.units=words)"
    )
    spelt = data(corpus, units="characters").account.lines["tokens"]
    assert spelt == "8 characters of the training transcripts"


def test_a_batch_holds_the_features_and_outputs_of_its_utterances(corpus):
    made = data(corpus)
    batch = made.parts["train"][[2, 0]]
    assert batch.frames.shape == (2, int(batch.lengths.max()), 24)
    second = made.parts["train"].frames(0)
    assert batch.frames[1, : len(second)].equal(second)
    assert not batch.frames[1, len(second) :].any()
    words = [made.utterances["train"][number].text.split() for number in (2, 0)]
    assert batch.target_lengths.tolist() == [len(said) for said in words]
    for said, outputs in zip(words, batch.targets.tolist(), strict=True):
        assert [made.alphabet.tokens[i - 1] for i in outputs[: len(said)]] == said
        assert not any(outputs[len(said) :])


def test_cached_features_are_the_computed_ones(corpus, tmp_path):
    plain, first, second = data(corpus), data(corpus, tmp_path), data(corpus, tmp_path)
    # Features and index of three parts.
    assert len(list(tmp_path.glob("*.f32"))) == len(list(tmp_path.glob("*.npy"))) == 3
    for number in range(len(plain.parts["val"])):
        frames = plain.parts["val"].frames(number)
        assert first.parts["val"].frames(number).equal(frames)
        assert second.parts["val"].frames(number).equal(frames)
    assert plain.fingerprint == second.fingerprint


def test_the_cache_notices_a_changed_file(parts, tmp_path):
    cache = tmp_path / "cache"
    before = from_parts(parts, cache=cache).parts["val"].frames(0)
    soundfile.write(tmp_path / "10.wav", say("one one one one"), RATE)
    lines = parts["val_path"].read_text().replace('"duration"', '"was"')
    parts["val_path"].write_text(lines)
    after = from_parts(parts, cache=cache).parts["val"].frames(0)
    assert before.shape != after.shape or not before.equal(after)


def test_loaders_give_every_utterance(corpus):
    made = data(corpus)
    for loader, part in ((made.train_dataloader(), "train"), (made.val_dataloader(), "val")):
        count = sum(len(batch.lengths) for batch in loader)
        assert count == len(made.utterances[part])


def test_workers_give_the_same_batches(corpus):
    made = data(corpus)
    alone = list(made.train_dataloader())
    made.num_workers = 1
    for one, other in zip(alone, made.train_dataloader(), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def _cut(folder: Path, parts: dict[str, Path]) -> None:
    whole = (folder / "0.wav").read_bytes()
    (folder / "0.wav").write_bytes(whole[: len(whole) // 2])


def _too_long(folder: Path, parts: dict[str, Path]) -> None:
    soundfile.write(folder / "short.wav", say("one")[:900], RATE)
    add(parts["path"], "short.wav", "one two three one two three")


def _missing(folder: Path, parts: dict[str, Path]) -> None:
    add(parts["path"], "none.wav", "one")


def test_words_of_held_out_transcripts_alone_count_as_errors(parts):
    known = from_parts(parts)
    add(parts["val_path"], "0.wav", "one four")
    add(parts["test_path"], "1.wav", "five four")
    made = from_parts(parts)
    assert made.alphabet == known.alphabet
    expected = "2 words of val and test are in no training transcript and count as errors: "
    assert made.account.lines["unheard"] == expected + (
        "'four', 'five'; data.units=characters spells them"
    )
    assert "unheard" not in known.account.lines
    assert made.parts["val"].targets[-1] == made.alphabet.encode("one")
    assert made.utterances["test"][-1].text == "five four"
    batch = made.parts["test"][[len(made.parts["test"]) - 1]]
    assert batch.target_lengths.tolist() == [0]


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (_cut, r"0\.wav: truncated"),
        (_too_long, r"short\.wav: .* frames are too few .* 6 words need 6 under CTC"),
        (_missing, r"none\.wav: no such file"),
    ],
)
def test_bad_utterances_stop_or_are_left_out_when_told_to(parts, tmp_path, caplog, spoil, expected):
    good = from_parts(parts)
    count = {part: len(good.utterances[part]) for part in ("train", "val")}
    spoil(tmp_path, parts)
    with pytest.raises(UserError, match=expected):
        from_parts(parts)
    with caplog.at_level(logging.WARNING):
        kept = from_parts(parts, skip_bad=True)
    assert "left out" in caplog.text
    lost = 1 if spoil is _cut else 0
    assert len(kept.utterances["train"]) == count["train"] - lost
    assert len(kept.utterances["val"]) == count["val"]


def test_what_was_left_out_once_is_not_left_out_silently_later(parts, tmp_path, caplog):
    _cut(tmp_path, parts)
    cache = tmp_path / "cache"
    first = from_parts(parts, cache=cache, skip_bad=True)
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        second = from_parts(parts, cache=cache, skip_bad=True)
    assert caplog.text.count("0.wav: truncated") == 1
    assert second.fingerprint == first.fingerprint
    with pytest.raises(UserError, match=r"0\.wav: truncated"):
        from_parts(parts, cache=cache)


def test_a_worker_gets_the_place_of_the_features_and_not_a_copy(corpus):
    store = data(corpus).parts["train"].store
    sent = pickle.dumps(store)
    assert len(sent) < 2000 < store.lengths.sum() * 8 * 4
    assert pickle.loads(sent)[3].equal(store[3])


def test_bad_test_utterances_are_never_left_out(parts, tmp_path):
    add(parts["test_path"], "none.wav", "one")
    with pytest.raises(UserError, match=r"none\.wav: no such file"):
        from_parts(parts, skip_bad=True)


@pytest.mark.parametrize("share", [0.0, 0.5, -1])
def test_impossible_shares(corpus, share):
    with pytest.raises(ValueError, match="val_fraction"):
        Manifest(str(corpus), val_fraction=share)
