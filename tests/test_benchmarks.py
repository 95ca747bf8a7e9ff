"""Benchmarks that no other test runs still do."""

from __future__ import annotations

from benchmarks.padding import batch, seconds, task


def test_a_step_of_the_speech_recogniser_with_and_without_packing() -> None:
    for packed in (None, False, True):
        trained = task(packed)
        assert seconds(trained, trained.make_optimizer(), batch([40, 25])) > 0
