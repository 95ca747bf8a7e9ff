from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from apps.errors import UserError
from apps.speech.audio import load
from apps.speech.layouts import find_audio, read_layout
from apps.speech.sources import Manifest
from apps.tables.reading import Reading
from tests.apps.speech.conftest import RATE, say


def write(folder: Path, name: str, text: str = "one") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, say(text), RATE)
    return path


def texts(path: Path) -> list[tuple[str, str, str]]:
    found = read_layout(path).parts["train"]
    return [(utterance.path.name, utterance.text, utterance.speaker) for utterance in found]


def test_librispeech(tmp_path):
    chapter = tmp_path / "84" / "121123"
    for number in range(2):
        write(chapter, f"84-121123-000{number}.flac")
    (chapter / "84-121123.trans.txt").write_text("84-121123-0000 GO ON\n84-121123-0001 NO\n")
    assert read_layout(tmp_path).name.startswith("LibriSpeech")
    assert texts(tmp_path) == [
        ("84-121123-0000.flac", "go on", "84"),
        ("84-121123-0001.flac", "no", "84"),
    ]
    (chapter / "84-121123.trans.txt").write_text("84-121123-0000 GO ON\n84-121123-0001\n")
    with pytest.raises(UserError, match="line 2: empty transcript"):
        read_layout(tmp_path)
    (chapter / "84-121123.trans.txt").write_text("84-121123-0000 GO ON\n84-121123-0001 NO\n")
    (chapter / "84-121123-0001.flac").unlink()
    with pytest.raises(UserError, match="line 2: no audio file 84-121123-0001 beside it"):
        read_layout(tmp_path)


def test_common_voice_keeps_its_own_parts(tmp_path):
    for name in ("train", "dev", "test"):
        write(tmp_path / "clips", f"{name}.mp3")
        line = f"client_id\tpath\tsentence\nabc\t{name}.mp3\tWell, {name}\n"
        (tmp_path / f"{name}.tsv").write_text(line)
    parts = Manifest(str(tmp_path)).read()
    assert {part: [u.text for u in us] for part, us in parts.items()} == {
        "train": ["well, train"],
        "val": ["well, dev"],
        "test": ["well, test"],
    }
    assert all(u.path.is_file() for us in parts.values() for u in us)


def kaldi(folder: Path) -> Path:
    soundfile.write(folder / "long.wav", np.concatenate([say("one two"), say("three")]), RATE)
    (folder / "wav.scp").write_text(f"rec {folder / 'long.wav'}\n")
    (folder / "text").write_text("utt1 ONE TWO\nutt2 THREE\n")
    (folder / "segments").write_text("utt1 rec 0.0 0.6\nutt2 rec 0.6 -1\n")
    (folder / "utt2spk").write_text("utt1 ann\nutt2 bob\n")
    return folder


def test_kaldi_with_segments(tmp_path):
    found = read_layout(kaldi(tmp_path)).parts["train"]
    assert [(u.text, u.speaker, u.offset, u.duration) for u in found] == [
        ("one two", "ann", 0.0, 0.6),
        ("three", "bob", 0.6, None),
    ]
    assert len(load(found[0], RATE)) == 0.6 * RATE
    whole = len(say("one two")) + len(say("three"))
    assert len(load(found[1], RATE)) == whole - 0.6 * RATE


@pytest.mark.parametrize(
    ("file", "content", "expected"),
    [
        ("wav.scp", "rec sph2pipe -f wav a.sph |\n", "line 1: is a command, which is not run"),
        ("wav.scp", "other a.wav\n", "text, line 1: rec is not in wav.scp"),
        ("text", "utt1 ONE TWO\nutt2\n", "text, line 2: empty transcript"),
        ("segments", "utt1 rec 0 0.6\n", "text, line 2: utt2 is not in segments"),
        ("segments", "utt1 rec 0.6 0.1\nutt2 rec 0 1\n", "ends at 0.1 s, before it begins"),
        ("segments", "utt1 rec x 0.1\nutt2 rec 0 1\n", "begin='x': must be a number of seconds"),
    ],
)
def test_kaldi_that_does_not_fit_together(tmp_path, file, content, expected):
    kaldi(tmp_path)
    (tmp_path / file).write_text(content)
    with pytest.raises(UserError, match=expected):
        read_layout(tmp_path)


def test_a_text_beside_each_recording(tmp_path):
    write(tmp_path, "a/one.wav")
    (tmp_path / "a" / "one.txt").write_text("One\n")
    write(tmp_path, "b.flac")  # without a text it is left alone
    assert texts(tmp_path) == [("one.wav", "one", "")]
    (tmp_path / "a" / "one.txt").write_text(" \n")
    with pytest.raises(UserError, match=r"one\.txt: empty transcript"):
        read_layout(tmp_path)


@pytest.mark.parametrize(
    ("audio", "text"), [("A.WAV", "a.TXT"), ("b.wav", "B.txt"), ("cafe\u0301.wav", "caf\u00e9.txt")]
)
def test_a_text_beside_a_recording_may_be_spelt_otherwise(tmp_path, audio, text):
    write(tmp_path, audio)
    (tmp_path / text).write_text("One")
    assert texts(tmp_path) == [(audio, "one", "")]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (("0 8000 She had your suit.", "0 900 two"), ["she had your suit.", "two"]),
        (("0 8000 She had your suit.", "two"), ["0 8000 she had your suit.", "two"]),
    ],
)
def test_the_samples_that_timit_puts_before_a_text_are_no_words(tmp_path, lines, expected):
    for name, line in zip("ab", lines, strict=True):
        write(tmp_path, f"{name}.wav")
        (tmp_path / f"{name}.txt").write_text(line)
    assert [text for _, text, _ in texts(tmp_path)] == expected


@pytest.mark.parametrize(
    ("texts_of", "audio"),
    [
        ({"metadata.csv": "a|one 2|one two\nb|six|six\n"}, "wavs/{}.wav"),
        ({"metadata.csv": "file_name,text\nx/a.wav,one two\nx/b.wav,six\n"}, "x/{}.wav"),
        (
            {
                "metadata.jsonl": '{"file_name": "a.wav", "text": "one two"}\n'
                '{"file_name": "b.wav", "text": "six"}\n'
            },
            "{}.wav",
        ),
        ({"txt/s/a.txt": "one two", "txt/s/b.txt": "six"}, "wav48/s/{}.wav"),
        (
            {"a.normalized.txt": "one two", "b.normalized.txt": "six", "a.original.txt": "1"},
            "{}.wav",
        ),
    ],
)
def test_layouts_of_other_corpora(tmp_path, texts_of, audio):
    for name in "ab":
        write(tmp_path, audio.format(name))
    for name, text in texts_of.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert sorted(texts(tmp_path)) == [("a.wav", "one two", ""), ("b.wav", "six", "")]


@pytest.mark.parametrize("parts", [["."], ["train", "test"]])
def test_how_a_manifest_is_read_counts_in_a_folder_too(tmp_path, parts):
    for part in parts:
        write(tmp_path, f"{part}/a.wav")
        (tmp_path / part / "metadata.csv").write_text("a.wav;one two\n")
    found = read_layout(tmp_path, Reading(["path", "text"], "semicolon")).utterances
    assert [(utterance.path.name, utterance.text) for utterance in found] == [
        ("a.wav", "one two")
    ] * len(parts)


@pytest.mark.parametrize("val", ["dev", "validation", None])
def test_parts_in_folders_of_their_names_are_kept(tmp_path, val):
    for part in ("train", "test", *([val] if val else [])):
        for number in range(9):
            write(tmp_path, f"{part}/{part}{number}.wav")
            (tmp_path / part / f"{part}{number}.txt").write_text(f"{part} {number}")
    parts = Manifest(str(tmp_path)).read()
    assert {u.path.parent.name for u in parts["test"]} == {"test"}
    assert {u.path.parent.name for u in parts["val"]} == {val or "train"}
    assert sum(map(len, parts.values())) == (27 if val else 18)


def test_kaldi_with_paths_of_windows(tmp_path):
    write(tmp_path, "wav/a.wav")
    (tmp_path / "wav.scp").write_text("utt wav\\a.wav\n")
    (tmp_path / "text").write_text("utt ONE\n")
    (found,) = read_layout(tmp_path).parts["train"]
    assert found.path == tmp_path / "wav" / "a.wav"


def test_a_folder_of_no_layout(tmp_path):
    write(tmp_path, "a.wav")
    with pytest.raises(UserError, match=r"no known layout; known: a manifest .*Kaldi"):
        read_layout(tmp_path)


def test_audio_of_a_file_a_folder_or_a_manifest(tmp_path, corpus):
    folder = corpus.parent
    assert [u.path for u in find_audio(folder / "3.wav")] == [folder / "3.wav"]
    assert {u.path.name for u in find_audio(folder)} == {f"{i}.wav" for i in range(40)}
    assert all(u.text for u in find_audio(corpus))
    (tmp_path / "m.json").write_text('{"audio_filepath": "a.wav"}')
    assert find_audio(tmp_path / "m.json")[0].text == ""
    with pytest.raises(UserError, match="no audio files in it"):
        find_audio(tmp_path)


def test_audio_is_known_by_its_content(tmp_path):
    path = write(tmp_path, "a.wav").rename(tmp_path / "recording")
    assert [u.path for u in find_audio(path)] == [path]


def test_audio_that_cannot_be_read_is_not_passed_over(tmp_path):
    write(tmp_path, "a.wav")
    (tmp_path / "b.m4a").write_bytes(b"\0" * 32)
    with pytest.raises(UserError, match=r"b\.m4a: 1 files in a format.*ffmpeg -i b\.m4a b\.flac"):
        find_audio(tmp_path)


def segments(folder: Path, recordings: int, each: int, speakers: int = 0) -> Path:
    lines = []
    for number in range(recordings * each):
        name = f"{number % recordings}.wav"
        write(folder, name, "one two three")
        line = {"audio_filepath": name, "text": "one", "offset": 0.1 * (number // recordings)}
        speaker = {"speaker": f"s{number % speakers}"} if speakers else {}
        lines.append(json.dumps(line | speaker | {"duration": 0.1}))
    (folder / "m.jsonl").write_text("\n".join(lines))
    return folder / "m.jsonl"


@pytest.mark.parametrize(
    ("recordings", "each", "speakers", "unit"),
    [(1, 9, 0, "segment"), (12, 3, 0, "recording"), (12, 3, 11, "speaker")],
)
def test_what_a_split_keeps_together(tmp_path, recordings, each, speakers, unit):
    source = Manifest(str(segments(tmp_path, recordings, each, speakers)))
    parts = source.read()
    assert f"val split off by {unit}" in source.found
    assert f"test split off by {unit}" in source.found
    keys = {
        "segment": lambda u: (u.path, u.offset),
        "recording": lambda u: u.path,
        "speaker": lambda u: u.speaker,
    }
    found = [{keys[unit](u) for u in parts[part]} for part in ("train", "val", "test")]
    assert sum(map(len, found)) == len(set.union(*found))
    assert sum(len(us) for us in parts.values()) == recordings * each
