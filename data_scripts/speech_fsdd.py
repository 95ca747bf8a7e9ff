"""Free Spoken Digit Dataset: single digits of six speakers put together to strings."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
from scipy.signal import resample_poly

from data_scripts.speech_catalogue import FSDD_SPEAKERS
from data_scripts.speech_espeak import DIGITS, MAX_DIGITS
from data_scripts.speech_files import Recording, Samples, decode

RATE = 8000
NUM_TRAIN, NUM_VAL = 1200, 150
FIRST_VAL = 45  # recordings 45 to 49 of a digit and training speaker are for validation alone
_NAME = re.compile(r"recordings/(?P<digit>\d)_(?P<speaker>[a-z]+)_(?P<index>\d+)\.wav")
Clips = dict[tuple[str, bool], list[tuple[int, Samples]]]


def held_out_strings(files: dict[str, bytes], held_out: str) -> Iterator[Recording]:
    """Strings of one to six digits of one speaker each.

    Test: every recording of the held-out speaker once, as it is. Training and validation:
    the other speakers' recordings, in training with another speed, gain and noise.
    """
    rng = np.random.default_rng(20261122)
    clips = _clips(files)
    others = [speaker for speaker in FSDD_SPEAKERS if speaker != held_out]
    for part, count in (("train", NUM_TRAIN), ("val", NUM_VAL)):
        for number in range(count):
            speaker = str(rng.choice(others))
            pool = clips[speaker, part == "val"]
            drawn = [pool[i] for i in rng.integers(len(pool), size=_length(rng))]
            name = f"{part}-{number:04d}"
            yield _string(rng, drawn, part, name, speaker)
    rest = clips[held_out, False] + clips[held_out, True]
    rest = [rest[i] for i in rng.permutation(len(rest))]
    number = 0
    while rest:
        length = _length(rng)
        yield _string(rng, rest[:length], "test", f"test-{number:04d}", held_out)
        rest, number = rest[length:], number + 1


def _length(rng: np.random.Generator) -> int:
    return int(rng.integers(1, MAX_DIGITS + 1))


def _clips(files: dict[str, bytes]) -> Clips:
    """Digit and samples of the recordings by speaker and whether they are for validation."""
    clips: Clips = {(s, val): [] for s in FSDD_SPEAKERS for val in (False, True)}
    for name in sorted(files):
        match = _NAME.fullmatch(name)
        if match is not None and match["speaker"] in FSDD_SPEAKERS:
            samples, _ = decode(files[name])
            where = match["speaker"], int(match["index"]) >= FIRST_VAL
            clips[where].append((int(match["digit"]), samples))
    return clips


def _string(
    rng: np.random.Generator, drawn: list[tuple[int, Samples]], part: str, name: str, speaker: str
) -> Recording:
    pieces = [_gap(rng)]
    for _, samples in drawn:
        pieces += [_changed(rng, samples) if part == "train" else samples, _gap(rng)]
    whole = np.concatenate(pieces)
    if part == "train":
        whole = whole * 10 ** rng.uniform(-0.5, 0.5)
        whole = whole + rng.normal(0, 10 ** rng.uniform(-4, -2.3), len(whole))
    text = " ".join(DIGITS[digit] for digit, _ in drawn)
    return Recording(part, name, np.clip(whole, -1, 1), RATE, text, speaker)


def _gap(rng: np.random.Generator) -> Samples:
    """20 to 250 ms of silence."""
    return np.zeros(int(RATE * rng.uniform(0.02, 0.25)))


def _changed(rng: np.random.Generator, samples: Samples) -> Samples:
    """The same digit at another speed (and so another pitch)."""
    changed: Samples = resample_poly(samples, 100, int(rng.integers(82, 123)))
    return changed
