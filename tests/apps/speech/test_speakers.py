"""Normalisation by speaker: over all of his utterances, the same in training and prediction."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from apps.errors import UserError
from apps.speech.audio import load
from apps.speech.data import SpeechData
from apps.speech.feature_store import feature_store
from apps.speech.features import FrontEnd
from apps.speech.manifest import read_manifest
from apps.speech.sources import Manifest
from apps.speech.speakers import speaker_statistics
from apps.speech.utterances import Utterance
from tests.apps.speech.conftest import RATE, write_corpus

BY_SPEAKER = FrontEnd(num_bands=8, normalize="speaker")


def spoken(manifest: Path) -> list[tuple[Utterance, torch.Tensor]]:
    return [(utterance, load(utterance, RATE)) for utterance in read_manifest(manifest)]


def test_all_utterances_of_a_speaker_have_mean_0_and_variance_1_together(corpus):
    pairs = spoken(corpus)
    statistics = speaker_statistics(pairs, BY_SPEAKER)
    assert set(statistics) == {utterance.speaker for utterance, _ in pairs}
    for speaker, found in statistics.items():
        whole = np.concatenate(
            [BY_SPEAKER.raw(s).numpy() for u, s in pairs if u.speaker == speaker]
        )
        np.testing.assert_allclose(found.mean, whole.mean(0), rtol=1e-5)
        np.testing.assert_allclose(found.spread, whole.std(0), rtol=1e-4)
        own = [BY_SPEAKER(s, found) for u, s in pairs if u.speaker == speaker]
        torch.testing.assert_close(torch.cat(own).mean(0), torch.zeros(8), atol=1e-4, rtol=0)
        assert max(float(one.mean(0).abs().max()) for one in own) > 0.05


def test_how_loud_an_utterance_is_makes_no_difference(corpus):
    front_end = FrontEnd(num_bands=8, normalize="speaker", top_db=40.0)
    pairs = spoken(corpus)
    louder = [(u, s * (3.0 if n % 2 else 1.0)) for n, (u, s) in enumerate(pairs)]
    before, after = (speaker_statistics(each, front_end) for each in (pairs, louder))
    for (utterance, samples), (_, changed) in zip(pairs, louder, strict=True):
        speaker = utterance.speaker
        expected = front_end(samples, before[speaker])
        torch.testing.assert_close(front_end(changed, after[speaker]), expected)


def test_by_utterance_speakers_count_for_nothing(corpus):
    front_end = FrontEnd(num_bands=8)
    pairs = spoken(corpus)
    assert speaker_statistics(pairs, front_end) == {}
    assert abs(float(front_end(pairs[0][1]).mean())) < 1e-5


def test_stored_features_are_those_of_the_speakers(corpus, tmp_path):
    pairs = spoken(corpus)
    statistics = speaker_statistics(pairs, BY_SPEAKER)
    store, _ = feature_store([u for u, _ in pairs], BY_SPEAKER, tmp_path)
    for number, (utterance, samples) in enumerate(pairs):
        assert store[number].equal(BY_SPEAKER(samples, statistics[utterance.speaker]))


def test_other_speakers_are_other_features(corpus, tmp_path):
    utterances = read_manifest(corpus)
    one = [Utterance(u.path, u.text, "all") for u in utterances]
    feature_store(utterances, BY_SPEAKER, tmp_path)
    store, _ = feature_store(one, BY_SPEAKER, tmp_path)
    whole = torch.cat([store[number] for number in range(len(store))])
    torch.testing.assert_close(whole.mean(0), torch.zeros(8), atol=1e-4, rtol=0)


def test_a_damaged_file_is_told_once_and_counts_for_no_speaker(tmp_path):
    utterances = read_manifest(write_corpus(tmp_path / "c", 12))
    utterances[3].path.write_bytes(b"RIFF")
    told: list[str] = []
    _, numbers = feature_store(utterances, BY_SPEAKER, None, told.append)
    assert numbers == [0, 1, 2, *range(4, 12)]
    assert len(told) == 1


def test_training_refuses_utterances_without_a_speaker(tmp_path):
    manifest = write_corpus(tmp_path, 16)
    manifest.write_text(manifest.read_text().replace('"s3"', '""'))
    data = SpeechData(Manifest(str(manifest), units="words"), BY_SPEAKER, batch_size=4, seed=0)
    with pytest.raises(UserError, match=r"^features.normalize=speaker: 2 utterances .* no speaker"):
        data.setup("fit")
