from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from scipy.signal import resample_poly

from apps.errors import UserError
from apps.speech.audio import load
from apps.speech.utterances import Utterance
from tests.apps.speech.conftest import RATE, say


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg"])
@pytest.mark.parametrize("channels", [1, 2])
def test_formats_and_channels(tmp_path, suffix, channels):
    samples = say("one three")
    path = tmp_path / f"a.{suffix}"
    # Left and right differ from their mean, which is the signal.
    both = np.stack([1.5 * samples, 0.5 * samples], axis=1) * 0.6
    soundfile.write(path, both if channels == 2 else 0.6 * samples, RATE)
    loaded = load(Utterance(path), RATE)
    assert loaded.shape == (len(samples),)
    error = np.abs(loaded.numpy() - 0.6 * samples).mean()
    assert error < (0.02 if suffix == "ogg" else 1e-4)


def test_faster_recordings_are_resampled(tmp_path):
    slow = say("one two three")
    soundfile.write(tmp_path / "fast.wav", resample_poly(slow, 2, 1), 2 * RATE)
    loaded = load(Utterance(tmp_path / "fast.wav"), RATE).numpy()
    assert len(loaded) == len(slow)
    # Away from the ends of the tones, where filters differ.
    assert np.corrcoef(loaded, slow)[0, 1] > 0.99


def test_slower_recordings_are_refused(wav):
    with pytest.raises(UserError, match=r"a\.wav: recorded at 8000 Hz.*sample_rate=8000"):
        load(wav, 16000)


@pytest.mark.parametrize(
    ("content", "expected"),
    [(b"", "cannot be read as audio"), (b"RIFF is not enough", "cannot be read as audio")],
)
def test_what_is_no_audio(wav, content, expected):
    wav.path.write_bytes(content)
    with pytest.raises(UserError, match=rf"a\.wav: {expected}") as refused:
        load(wav, RATE)
    assert str(refused.value).count("a.wav") == 1


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match=r"none\.wav: no such file"):
        load(Utterance(tmp_path / "none.wav"), RATE)


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg"])
@pytest.mark.parametrize("share", [0.3, 0.9])
def test_truncated_audio_is_named(tmp_path, suffix, share):
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, np.tile(say("one two three"), 20), RATE)
    assert len(load(Utterance(path), RATE)) > 0
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(UserError, match=rf"a\.{suffix}: (truncated|cannot be read)"):
        load(Utterance(path), RATE)


@pytest.mark.parametrize("lost", [1, 8, 800])
@pytest.mark.parametrize("told", ["whole", "rewritten"])
def test_a_wav_that_lacks_a_little_is_named(wav, lost, told):
    content = bytearray(wav.path.read_bytes()[:-lost])
    if told == "rewritten":  # by a program that looked at the file's size alone
        content[4:8] = (len(content) - 8).to_bytes(4, "little")
    wav.path.write_bytes(content)
    with pytest.raises(UserError, match=r"a\.wav: truncated"):
        load(wav, RATE)


def test_audio_shorter_than_its_manifest_says(wav):
    assert len(load(replace(wav, duration=0.5), RATE)) > 0
    with pytest.raises(UserError, match=r"truncated: ends after 0\.6"):
        load(replace(wav, duration=2.0), RATE)


def test_silence_of_no_length(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(0), RATE)
    with pytest.raises(UserError, match="holds no sound"):
        load(Utterance(tmp_path / "a.wav"), RATE)


def test_samples_that_are_no_numbers(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.array([0.0, np.nan, 0.1]), RATE, subtype="FLOAT")
    with pytest.raises(UserError, match="not finite"):
        load(Utterance(tmp_path / "a.wav"), RATE)


CASES = Path(__file__).parents[4] / "shared/cases/apps/speech"
# How a format is written: its suffix, and what soundfile has to be told of it.
FORMATS = {
    "mp3": {},
    "opus": {"format": "OGG", "subtype": "OPUS"},
    "aiff": {},
    "aifc": {"format": "AIFF", "subtype": "ULAW"},
    "au": {},
    "snd": {"format": "AU", "subtype": "ALAW"},
    "caf": {},
    "w64": {},
    "rf64": {},
    "sph": {"format": "NIST", "subtype": "PCM_16"},
    "voc": {"subtype": "PCM_16"},
    "gsm.wav": {"format": "WAV", "subtype": "GSM610"},
    "ulaw.wav": {"format": "WAV", "subtype": "ULAW"},
    "float.wav": {"format": "WAV", "subtype": "FLOAT"},
    "byte.wav": {"format": "WAV", "subtype": "PCM_U8"},
    "24bit.wav": {"format": "WAV", "subtype": "PCM_24"},
    "extensible.wav": {"format": "WAVEX", "subtype": "PCM_24"},
    "adpcm.wav": {"format": "WAV", "subtype": "IMA_ADPCM"},
    "microsoft.wav": {"format": "WAV", "subtype": "MS_ADPCM"},
    "flac.wav": {"format": "FLAC", "subtype": "PCM_16"},
    "WAV": {"format": "WAV", "subtype": "PCM_16"},
}


@pytest.mark.parametrize("name", FORMATS)
def test_what_libsndfile_reads_is_read(tmp_path, name):
    samples = say("one three two")
    path = tmp_path / f"a.{name}"
    soundfile.write(path, samples, RATE, **FORMATS[name])
    loaded = load(Utterance(path), RATE).numpy()
    # GSM has blocks of 320 samples, MP3 of 1,152.
    assert 0 <= len(loaded) - len(samples) <= 1152
    # The tones are there: lossy formats keep most of a tone's energy where it was.
    assert np.corrcoef(loaded[: len(samples)], samples)[0, 1] > 0.9


@pytest.mark.parametrize("name", ["aiff", "aifc", "au", "caf", "w64", "rf64", "sph", "mp3", "opus"])
@pytest.mark.parametrize("share", [0.3, 0.8])
def test_cut_files_of_other_formats_are_named(tmp_path, name, share):
    path = tmp_path / f"a.{name}"
    soundfile.write(path, np.tile(say("one two three"), 5), RATE, **FORMATS[name])
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(UserError, match=rf"a\.{name}: (truncated|cannot be read)"):
        load(Utterance(path), RATE)


# What recorders that stream write for a size that they do not know: ffmpeg, sox, arecord, none.
@pytest.mark.parametrize(
    ("riff", "data"),
    [
        (0xFFFFFFFF, 0xFFFFFFFF),
        (0x7FFFF024, 0x7FFFF000),
        (0x7FFFFFFF, 0x7FFFFFDB),
        (0x80000024, 0x80000000),
        (0xFFFFFFFF, 0),
        (36, 0),
        (0, 0),
    ],
)
def test_streamed_wavs_are_read_whole(wav, riff, data):
    content = bytearray(wav.path.read_bytes())
    expected = load(wav, RATE)
    content[4:8] = riff.to_bytes(4, "little")
    content[40:44] = data.to_bytes(4, "little")
    wav.path.write_bytes(content)
    assert torch.equal(load(wav, RATE), expected)


@pytest.mark.parametrize("name", ["00.wav", "soxpipe.wav", "7f.wav", "a.aiff"])
@pytest.mark.skipif(not CASES.is_dir(), reason="the cases are not beside this checkout")
def test_the_same_tone_in_four_headers(name):
    assert torch.equal(load(Utterance(CASES / name), RATE), load(Utterance(CASES / "00.wav"), RATE))


@pytest.mark.parametrize("suffix", ["wav", "flac", "mp3", "ogg", "gsm.wav"])
def test_a_segment_is_cut_out_of_a_recording(tmp_path, suffix):
    samples = np.concatenate([say("one"), say("three"), say("two")])
    path = tmp_path / f"long.{suffix}"
    soundfile.write(path, samples, RATE, **FORMATS.get(suffix, {}))
    whole = load(Utterance(path), RATE)
    start, length = len(say("one")), len(say("three"))
    segment = Utterance(path, "three", offset=start / RATE, duration=length / RATE)
    found = load(segment, RATE)
    assert len(found) == length
    # A lossy decoder begins anew at a place that it seeks.
    atol = 0.0 if suffix in ("wav", "flac") else 0.05
    torch.testing.assert_close(found, whole[start : start + length], rtol=0, atol=atol)


def test_segments_at_the_edges(wav):
    whole = load(wav, RATE)
    seconds = len(whole) / RATE
    assert len(load(replace(wav, duration=seconds / 2), RATE)) == len(whole) // 2
    assert torch.equal(load(replace(wav, duration=seconds - 0.01), RATE), whole)
    assert torch.equal(load(replace(wav, offset=0.0), RATE), whole)
    assert torch.equal(load(replace(wav, offset=0.2), RATE), whole[int(0.2 * RATE) :])
    with pytest.raises(UserError, match=r"a\.wav: offset=9\.0: behind its end at 0\.6"):
        load(replace(wav, offset=9.0), RATE)
    with pytest.raises(UserError, match=r"a\.wav: truncated: ends after 0\.6"):
        load(replace(wav, offset=0.5, duration=1.0), RATE)
