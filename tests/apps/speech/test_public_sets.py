"""torchaudio's data sets, read from small copies laid out like the originals."""

from __future__ import annotations

from pathlib import Path

import pytest
import soundfile

from apps.errors import UserError
from apps.speech.audio import load
from apps.speech.public_sets import LibriSpeech, SpeechCommands
from tests.apps.speech.conftest import RATE, say


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, say(text), RATE)


def test_speech_commands_in_its_official_parts(tmp_path):
    home = tmp_path / "speech/SpeechCommands/speech_commands_v0.02"
    for word in ("one", "two"):
        for speaker in ("aa", "bb", "cc"):
            _write(home / word / f"{speaker}_nohash_0.wav", word)
    (home / "validation_list.txt").write_text("one/bb_nohash_0.wav\n")
    (home / "testing_list.txt").write_text("one/cc_nohash_0.wav\ntwo/cc_nohash_0.wav\n")
    source = SpeechCommands(str(tmp_path), download=False)
    source.fetch()
    corpus = source.read()
    assert [len(corpus[part]) for part in ("train", "val", "test")] == [3, 1, 2]
    assert {(u.text, u.speaker) for u in corpus["test"]} == {("one", "cc"), ("two", "cc")}
    assert len(load(corpus["val"][0], RATE)) == len(say("one"))


def test_librispeech_in_the_chosen_parts(tmp_path):
    for part in ("train-clean-100", "dev-clean", "test-clean"):
        home = tmp_path / "speech/LibriSpeech" / part / "84" / "121123"
        _write(home / "84-121123-0000.flac", "one two")
        (home / "84-121123.trans.txt").write_text("84-121123-0000 ONE TWO\n")
    source = LibriSpeech(str(tmp_path), download=False)
    source.fetch()
    (utterance,) = source.read()["test"]
    assert (utterance.text, utterance.speaker) == ("one two", "84")
    assert "test-clean" in str(utterance.path)
    assert len(load(utterance, RATE)) == len(say("one two"))


@pytest.mark.parametrize("kind", [SpeechCommands, LibriSpeech])
def test_a_copy_that_is_not_there_is_told_in_one_line(tmp_path, kind):
    with pytest.raises(UserError, match="cannot be fetched or read"):
        kind(str(tmp_path), download=False).fetch()


def test_an_unknown_part_is_told(tmp_path):
    with pytest.raises(UserError, match="train-dirty"):
        LibriSpeech(str(tmp_path), train="train-dirty", download=False).fetch()
