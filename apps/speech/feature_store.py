"""Features of a whole corpus, computed once and then read from disk as they are needed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from apps.errors import UserError
from apps.speech.audio import load
from apps.speech.features import FrontEnd
from apps.speech.utterances import Utterance
from data_scripts.manifest import replacing

Report = Callable[[str], None]


class FeatureStore:
    """Features (T, F) of utterances, by number; a memory map, so that many workers share it."""

    def __init__(self, frames: NDArray[np.float32], lengths: NDArray[np.int64]) -> None:
        self._frames = frames
        self.lengths = lengths
        self._ends = np.cumsum(lengths)

    def __len__(self) -> int:
        """Number of utterances."""
        return len(self.lengths)

    def __getitem__(self, number: int) -> Tensor:
        """The features (T, F) of one utterance."""
        end = int(self._ends[number])
        start = end - int(self.lengths[number])
        return torch.from_numpy(np.array(self._frames[start:end]))


def feature_store(
    utterances: Sequence[Utterance],
    front_end: FrontEnd,
    cache: Path | None,
    skip: Report | None = None,
) -> tuple[FeatureStore, list[int]]:
    """The features of the utterances that can be read, and their numbers.

    Kept in the folder `cache` under a name that changes with the files and the front end.
    Damaged audio raises UserError, or with `skip` is told to it and left out.
    """
    key = _key(utterances, front_end)
    paths = None if cache is None else (cache / f"{key}.npy", cache / f"{key}.index.npy")
    if paths is not None and all(path.is_file() for path in paths):
        index = np.load(paths[1])
        return FeatureStore(np.load(paths[0], mmap_mode="r"), index[1]), index[0].tolist()
    numbers, features = _compute(utterances, front_end, skip)
    if not numbers:
        raise UserError("no utterance of the data can be read")
    frames = np.concatenate(features)
    index = np.array([numbers, [len(f) for f in features]], dtype=np.int64)
    if paths is not None:
        _write(paths[1], index)
        _write(paths[0], frames)  # last: its presence marks the pair as whole
        frames = np.load(paths[0], mmap_mode="r")
    return FeatureStore(frames, index[1]), numbers


def _compute(
    utterances: Sequence[Utterance], front_end: FrontEnd, skip: Report | None
) -> tuple[list[int], list[NDArray[np.float32]]]:
    numbers, features = [], []
    for number, utterance in enumerate(utterances):
        try:
            samples = load(utterance, front_end.sample_rate)
        except UserError as error:
            if skip is None:
                raise
            skip(str(error))
            continue
        numbers.append(number)
        features.append(front_end(samples).numpy())
    return numbers, features


def _key(utterances: Sequence[Utterance], front_end: FrontEnd) -> str:
    """A hash of the front end and of every file's path, size and time."""
    whole = hashlib.sha256(front_end.key.encode())
    for utterance in utterances:
        try:
            stat = utterance.path.stat()
        except OSError as error:
            whole.update(f"{utterance.path} {error.errno}\n".encode())
        else:
            text = f"{utterance.path.resolve()} {stat.st_size} {stat.st_mtime_ns}"
            whole.update(f"{text} {utterance.duration}\n".encode())
    return whole.hexdigest()[:32]


def _write(path: Path, array: NDArray[np.generic]) -> None:
    try:
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.save(file, array)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}") from error
