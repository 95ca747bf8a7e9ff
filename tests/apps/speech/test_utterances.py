from __future__ import annotations

import json

import pytest

from apps.errors import UserError
from apps.speech.utterances import find_audio, read_manifest

LINE = {"audio_filepath": "a.wav", "text": " Hello,  World ", "speaker": "x", "duration": 1.5}


def test_a_manifest_as_nemo_has_it(tmp_path):
    path = tmp_path / "m.jsonl"
    path.write_text(json.dumps(LINE) + "\n\n" + json.dumps({**LINE, "audio_filepath": "/b.wav"}))
    first, second = read_manifest(path)
    assert (first.path, first.text) == (tmp_path / "a.wav", "hello, world")
    assert (first.speaker, first.duration) == ("x", 1.5)
    assert str(second.path) == "/b.wav"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{", "m.jsonl, line 1: not JSON"),
        ("[1]", "line 1: must be an object with audio_filepath and text"),
        ('{"text": "a"}', "line 1: must be an object with audio_filepath"),
        ('{"audio_filepath": "a.wav"}', "line 1: empty transcript"),
        ('{"audio_filepath": "a.wav", "text": "  "}', "line 1: empty transcript"),
        ('{"audio_filepath": "a.wav", "text": "a", "duration": -1}', "duration=-1: must be"),
        ("\n", "holds no utterances"),
    ],
)
def test_bad_lines_are_named(tmp_path, text, expected):
    (tmp_path / "m.jsonl").write_text(text)
    with pytest.raises(UserError, match=expected):
        read_manifest(tmp_path / "m.jsonl")


def test_files_that_are_no_manifest(tmp_path):
    (tmp_path / "m.jsonl").write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match="not UTF-8"):
        read_manifest(tmp_path / "m.jsonl")
    with pytest.raises(UserError, match="No such file"):
        read_manifest(tmp_path / "none.jsonl")


def test_audio_of_a_file_a_folder_or_a_manifest(tmp_path, corpus):
    folder = corpus.parent
    assert [u.path for u in find_audio(folder / "3.wav")] == [folder / "3.wav"]
    assert {u.path.name for u in find_audio(folder)} == {f"{i}.wav" for i in range(40)}
    assert all(u.text for u in find_audio(corpus))
    (tmp_path / "m.json").write_text('{"audio_filepath": "a.wav"}')
    assert find_audio(tmp_path / "m.json")[0].text == ""
    with pytest.raises(UserError, match="no audio files in it"):
        find_audio(tmp_path)
