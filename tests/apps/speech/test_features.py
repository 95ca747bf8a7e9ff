from __future__ import annotations

import numpy as np
import pytest
import torch

from apps.speech.features import FrontEnd, spec_augment
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


def test_masks_are_zero_and_differ_between_utterances():
    torch.manual_seed(0)
    masked = spec_augment(2, 10, 2, 4)(torch.ones(8, 20, 60))
    assert set(masked.unique().tolist()) == {0.0, 1.0}
    assert len({tuple(one.flatten().tolist()) for one in masked}) > 1


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
