from __future__ import annotations

import numpy as np
import pytest
import torch

from apps.speech.features import FrontEnd
from tests.apps.speech.conftest import RATE, TONES, say


@pytest.mark.parametrize("kind", ["logmel", "mfcc"])
def test_features_are_normalised_in_time(kind):
    front_end = FrontEnd(kind, num_bands=20)
    features = front_end(torch.from_numpy(say("one two three")).float())
    assert features.shape[1] == 20
    torch.testing.assert_close(features.mean(0), torch.zeros(20), atol=1e-4, rtol=0)
    torch.testing.assert_close(features.std(0, correction=0), torch.ones(20), atol=1e-2, rtol=0)


def test_frames_come_every_hop():
    front_end = FrontEnd(stack=1)
    assert front_end.frame_seconds == pytest.approx(0.01)
    length = len(front_end(torch.zeros(RATE)))
    assert abs(length - 100) <= 1


def test_a_tone_excites_the_band_around_it():
    front_end = FrontEnd()
    noise = 1e-3 * np.random.default_rng(0).normal(size=2000)
    centres = []
    for frequency in sorted(TONES.values()):
        tone = np.sin(2 * np.pi * frequency * np.arange(4000) / RATE)
        features = front_end(torch.from_numpy(np.r_[noise, tone, noise]).float())
        # During the tone minus outside of it: normalisation has taken the level away.
        raw = front_end._transform(torch.from_numpy(tone).float()).mean(1)
        centres.append(int(raw.argmax()))
        assert features[35:60, centres[-1]].mean() > features[:10, centres[-1]].mean() + 1
    assert centres == sorted(set(centres))


def test_stacking_keeps_every_frame_in_order():
    front_end = FrontEnd(num_bands=2, stack=3)
    frames = torch.arange(14.0).reshape(7, 2) + 1
    stacked = front_end.stacked(frames)
    assert stacked.shape == (front_end.num_frames(7), front_end.num_inputs) == (3, 6)
    assert stacked.flatten()[:14].equal(frames.flatten())
    assert not stacked.flatten()[14:].any()


def test_sound_shorter_than_a_window_still_has_a_frame():
    assert len(FrontEnd()(torch.zeros(10))) >= 1


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"kind": "wavelet"}, "kind must be one of logmel, mfcc"),
        ({"sample_rate": 100}, "sample_rate must be >= 4000"),
        ({"stack": 0}, "stack=0"),
        ({"hop_ms": 30.0}, "hop_ms=30.0"),
    ],
)
def test_impossible_settings(settings, expected):
    with pytest.raises(ValueError, match=expected):
        FrontEnd(**settings)


def test_silence_looks_alike_with_and_without_noise():
    """With `top_db` the noise of a pause does not move what is normalised by it."""
    rng = np.random.default_rng(0)
    pause, burst = np.zeros(4000), 0.2 * rng.normal(size=4000)
    silent = np.r_[pause, burst, pause]
    noisy = silent + 1e-3 * rng.normal(size=len(silent))
    change = {}
    for top_db in (None, 30.0):
        front_end = FrontEnd(top_db=top_db)
        both = [front_end(torch.from_numpy(one).float()) for one in (silent, noisy)]
        assert (both[0][55:95] > both[0][:40].mean()).all()
        change[top_db] = float((both[0] - both[1]).abs().max())
    assert change[30.0] < 0.1 < change[None]
