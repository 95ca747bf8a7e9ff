from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import soundfile
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
