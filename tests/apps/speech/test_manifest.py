from __future__ import annotations

import json

import pytest

from apps.errors import UserError
from apps.speech.manifest import read_manifest

LINE = {"audio_filepath": "a.wav", "text": " Hello,  World ", "speaker": "x", "duration": 1.5}


def test_a_manifest_as_nemo_has_it(tmp_path):
    path = tmp_path / "m.jsonl"
    path.write_text(json.dumps(LINE) + "\n\n" + json.dumps({**LINE, "audio_filepath": "/b.wav"}))
    first, second = read_manifest(path)
    assert (first.path, first.text) == (tmp_path / "a.wav", "hello, world")
    assert (first.speaker, first.duration, first.offset) == ("x", 1.5, None)
    assert str(second.path) == "/b.wav"


@pytest.mark.parametrize(
    ("fields", "text", "speaker"),
    [
        ({"text": "Don\u2019t", "speaker": 7}, "don't", "7"),
        ({"text": "cafe\u0301", "speaker": 7.0}, "caf\u00e9", "7"),
        ({"sentence": "one", "client_id": "ab"}, "one", "ab"),
        ({"transcript": "one", "speaker": None}, "one", ""),
        ({"text": 5, "speaker": float("nan")}, "5", ""),
        ({"text": "one\u2028two"}, "one two", ""),
        ({"text": "\ufeffone\u200b two\u00ad"}, "one two", ""),
    ],
)
def test_what_fields_may_hold(tmp_path, fields, text, speaker):
    line = json.dumps({"audio_filepath": "a.wav"} | fields, ensure_ascii=False)
    (tmp_path / "m.jsonl").write_text(line, encoding="utf-8")
    (found,) = read_manifest(tmp_path / "m.jsonl")
    assert (found.text, found.speaker) == (text, speaker)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_encodings_and_line_ends(tmp_path, encoding, end):
    line = json.dumps({"audio_filepath": "a.wav", "text": "caf\u00e9"}, ensure_ascii=False)
    (tmp_path / "m.jsonl").write_bytes((line + end + line + end).encode(encoding))
    assert [u.text for u in read_manifest(tmp_path / "m.jsonl")] == ["caf\u00e9"] * 2


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("m.csv", 'path,sentence,duration\na.wav,"one, two",1.5\n'),
        ("m.csv", 'Path, Sentence, Duration\na.wav,"one, two",1.5\n'),
        ("m.tsv", "client_id\tpath\tsentence\tduration\ns\ta.wav\tone, two\t1.5\n"),
        ("m.csv", 'wav_filename,wav_filesize,transcript,duration\na.wav,7,"one, two",1.5\n'),
    ],
)
def test_tables(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    (found,) = read_manifest(tmp_path / name)
    assert (found.path.name, found.text, found.duration) == ("a.wav", "one, two", 1.5)


def test_a_quotation_mark_in_a_tsv_is_one(tmp_path):
    (tmp_path / "m.tsv").write_text('path\tsentence\na.mp3\t"Hm," he said\nb.mp3\tno\n')
    assert [u.text for u in read_manifest(tmp_path / "m.tsv")] == ['"hm," he said', "no"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{", "m.jsonl, line 1: not JSON"),
        ("[1]", "line 1: must be an object with audio_filepath and text"),
        ('{"text": "a"}', "line 1: must have audio_filepath and text; has text"),
        ('{"audio_filepath": null, "text": "a"}', "line 1: must have audio_filepath"),
        ('{"audio_filepath": "a.wav"}', "line 1: empty transcript"),
        ('{"audio_filepath": "a.wav", "text": "  "}', "line 1: empty transcript"),
        ('{"audio_filepath": "a.wav", "text": null}', "line 1: empty transcript"),
        ('{"audio_filepath": "a.wav", "text": NaN}', "line 1: empty transcript"),
        ('{"audio_filepath": "a.wav", "text": ["a"]}', r"text=\['a'\]: must be a text"),
        ('{"audio_filepath": "a.wav", "text": true}', "text=True: must be a text"),
        ('{"audio_filepath": "a.wav", "text": "a", "duration": -1}', "duration=-1: must be"),
        ('{"audio_filepath": "a.wav", "text": "a", "duration": 0}', "duration=0: must be"),
        ('{"audio_filepath": "a.wav", "text": "a", "offset": -1}', "offset=-1: must be"),
        ('{"audio_filepath": "a.wav", "text": "a", "offset": "x"}', "offset='x': must be"),
        ("\n", "holds no utterances"),
    ],
)
def test_bad_lines_are_named(tmp_path, text, expected):
    (tmp_path / "m.jsonl").write_text(text)
    with pytest.raises(UserError, match=expected):
        read_manifest(tmp_path / "m.jsonl")


def test_files_that_are_no_manifest(tmp_path):
    (tmp_path / "m.jsonl").write_bytes(b'{"text": "caf\xe9"}')
    with pytest.raises(UserError, match=r"not UTF-8 .byte 13.; save it as UTF-8"):
        read_manifest(tmp_path / "m.jsonl")
    with pytest.raises(UserError, match="No such file"):
        read_manifest(tmp_path / "none.jsonl")
    (tmp_path / "m.csv").write_text("path,sentence\na.wav,one,two\n")
    with pytest.raises(UserError, match="line 2: has not as many fields as the header"):
        read_manifest(tmp_path / "m.csv")
