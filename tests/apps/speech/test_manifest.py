from __future__ import annotations

import gzip
import json
from functools import partial

import pandas as pd
import pytest

from apps.errors import UserError
from apps.speech.manifest import read_manifest
from apps.tables.reading import Reading

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
        ({"Transcription": "one", "Spk_ID": "ab"}, "one", "ab"),
        ({"audio_filepath": {"path": "a.wav", "sampling_rate": 8000}, "wrd": "one"}, "one", ""),
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


@pytest.mark.parametrize(
    ("name", "content", "options"),
    [
        ("m.csv", "file_name;transcription\na.wav;one, two\n", {}),
        ("m.csv", '"path", "text"\n"a.wav", "one, two"\n', {}),
        ("m.txt", "wav\ttxt\na.wav\tone, two\n", {}),
        ("m.txt", "a.wav|one, two\n", {"columns": ["path", "text"], "sep": "pipe"}),
        ("m.tsv", "a.wav\tone, two\n", {"columns": ["path", "text"]}),
        ("m.json", '[\n{"audio": "a.wav", "sentence": "one, two"}\n]', {}),
        ("m.csv.gz", gzip.compress(b'path,text\na.wav,"one, two"\n'), {}),
        ("m.csv", "path,text\na.wav,caf\u00e9\n".encode("cp1252"), {"encoding": "cp1252"}),
    ],
)
def test_tables_of_other_kinds(tmp_path, name, content, options):
    data = content.encode() if isinstance(content, str) else content
    (tmp_path / name).write_bytes(data)
    (found,) = read_manifest(tmp_path / name, Reading(**options))
    assert found.path == tmp_path / "a.wav"
    assert found.text == ("caf\u00e9" if options.get("encoding") else "one, two")


@pytest.mark.parametrize("suffix", ["xlsx", "parquet"])
def test_typed_tables(tmp_path, suffix):
    table = pd.DataFrame({"path": ["a.wav", "b.wav"], "text": ["one", "two"], "speaker": [7, None]})
    write = table.to_parquet if suffix == "parquet" else partial(table.to_excel, index=False)
    write(tmp_path / f"m.{suffix}")
    found = read_manifest(tmp_path / f"m.{suffix}")
    assert [(u.path.name, u.text, u.speaker) for u in found] == [
        ("a.wav", "one", "7"),
        ("b.wav", "two", ""),
    ]


@pytest.mark.parametrize("names", ["start,end", "start_time,end_time", "begin,stop"])
def test_a_segment_may_have_its_end(tmp_path, names):
    (tmp_path / "m.csv").write_text(f"path,text,{names}\na.wav,one,0.5,1.25\nb.wav,two,,\n")
    first, second = read_manifest(tmp_path / "m.csv")
    assert (first.offset, first.duration) == (0.5, 0.75)
    assert (second.offset, second.duration) == (None, None)
    (tmp_path / "m.csv").write_text(f"path,text,{names}\na.wav,one,2,1.25\n")
    with pytest.raises(UserError, match=r"ends at 1\.25 s, before it begins"):
        read_manifest(tmp_path / "m.csv")


def test_paths_of_windows_and_of_common_voice(tmp_path):
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "a.wav").touch()
    (tmp_path / "m.csv").write_text("path,text\nclips\\a.wav,one\n.\\clips\\a.wav,one\na.wav,one\n")
    found = read_manifest(tmp_path / "m.csv")
    assert [u.path for u in found] == [tmp_path / "clips" / "a.wav"] * 3


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
    with pytest.raises(UserError, match="data row 1 has 3 cells, the header has 2"):
        read_manifest(tmp_path / "m.csv")
