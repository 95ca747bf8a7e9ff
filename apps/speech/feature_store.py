"""Features of a whole corpus, computed once and then read from disk as they are needed."""

from __future__ import annotations

import hashlib
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from apps.errors import UserError
from apps.speech.audio import load
from apps.speech.features import FrontEnd
from apps.speech.speakers import speaker_statistics
from apps.speech.utterances import Utterance
from data_scripts.files import replacing

Report = Callable[[str], None]
Lengths = NDArray[np.int64]


class FeatureStore:
    """Features (T, F) of utterances, by number, read from a file when they are asked for.

    path: the frames of all one after the other, float32. lengths: frames of each.
    """

    def __init__(self, path: Path, lengths: Lengths, num_bands: int) -> None:
        self.path = path
        self.lengths = lengths
        self.num_bands = num_bands
        shape = (int(lengths.sum()), num_bands)
        self._frames = np.memmap(path, dtype=np.float32, mode="r", shape=shape)
        self._ends = np.cumsum(lengths)

    def __len__(self) -> int:
        """Number of utterances."""
        return len(self.lengths)

    def __getitem__(self, number: int) -> Tensor:
        """The features (T, F) of one utterance."""
        end = int(self._ends[number])
        start = end - int(self.lengths[number])
        return torch.from_numpy(np.array(self._frames[start:end]))

    def __reduce__(self) -> Any:
        # A worker process opens the file itself, in the place of a copy of all frames.
        return FeatureStore, (self.path, self.lengths, self.num_bands)


def feature_store(
    utterances: Sequence[Utterance],
    front_end: FrontEnd,
    cache: Path | None,
    skip: Report | None = None,
) -> tuple[FeatureStore, list[int]]:
    """The features of the utterances that can be read, and their numbers.

    Kept in the folder `cache` under a name that changes with the files and the front end, or
    without one in a temporary folder; in memory there is one utterance at a time. Damaged audio
    raises UserError, or with `skip` is told to it and left out.
    """
    with ExitStack() as stack:
        folder = cache or Path(stack.enter_context(TemporaryDirectory(ignore_cleanup_errors=True)))
        name = folder / _key(utterances, front_end)
        path, index = name.with_suffix(".f32"), name.with_suffix(".npy")
        found = _kept(path, index, utterances, front_end, skip)
        numbers, lengths = _compute(path, utterances, front_end, skip) if found is None else found
        if not numbers:
            raise UserError("no utterance of the data can be read")
        if found is None:
            _write_index(index, np.array([numbers, lengths]))
        store = FeatureStore(path, np.array(lengths), front_end.num_bands)
        weakref.finalize(store, stack.pop_all().close)  # a temporary folder goes with the store
    return store, numbers


def _kept(
    path: Path,
    index: Path,
    utterances: Sequence[Utterance],
    front_end: FrontEnd,
    skip: Report | None,
) -> tuple[list[int], list[int]] | None:
    """Numbers and lengths of features that are there; None where they must be computed.

    What was left out when they were computed is told again, or raised.
    """
    if not (path.is_file() and index.is_file()):
        return None
    found = _read_index(index)
    if found is None:
        return None
    numbers, lengths = found
    missing = sorted(set(range(len(utterances))) - set(numbers))
    readable = [n for n in missing if _samples(utterances[n], front_end, skip) is not None]
    return None if readable else (numbers, lengths)


def _read_index(index: Path) -> tuple[list[int], list[int]] | None:
    """Numbers and lengths that were written; None where the file is damaged."""
    try:
        array = np.load(index, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    if array.ndim != 2 or len(array) != 2 or not np.issubdtype(array.dtype, np.integer):
        return None
    numbers, lengths = array.tolist()
    return numbers, lengths


def _compute(
    path: Path, utterances: Sequence[Utterance], front_end: FrontEnd, skip: Report | None
) -> tuple[list[int], list[int]]:
    """Write the features of all utterances that can be read; their numbers and lengths."""
    numbers, lengths = [], []
    statistics = speaker_statistics(_spoken(utterances, front_end, skip), front_end)
    try:
        with replacing(path) as temporary, temporary.open("wb") as file:
            for number, utterance in enumerate(utterances):
                samples = _samples(utterance, front_end, skip)
                if samples is not None:
                    features = front_end(samples, statistics.get(utterance.speaker))
                    features.numpy().astype(np.float32).tofile(file)
                    numbers.append(number)
                    lengths.append(len(features))
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}") from error
    return numbers, lengths


def _spoken(
    utterances: Sequence[Utterance], front_end: FrontEnd, skip: Report | None
) -> Iterator[tuple[Utterance, Tensor]]:
    """The utterances that can be read, one after the other; what cannot is told elsewhere."""
    for utterance in utterances:
        samples = _samples(utterance, front_end, skip and (lambda message: None))
        if samples is not None:
            yield utterance, samples


def _samples(utterance: Utterance, front_end: FrontEnd, skip: Report | None) -> Tensor | None:
    """The samples of an utterance; None if it is damaged and `skip` was told so."""
    try:
        return load(utterance, front_end.sample_rate)
    except UserError as error:
        if skip is None:
            raise
        skip(str(error))
        return None


def _key(utterances: Sequence[Utterance], front_end: FrontEnd) -> str:
    """A hash of the front end and of every file's path, size and time."""
    whole = hashlib.sha256(front_end.key.encode())
    if front_end.normalize == "speaker":
        whole.update("\n".join(utterance.speaker for utterance in utterances).encode())
    for utterance in utterances:
        try:
            stat = utterance.path.stat()
        except OSError as error:
            whole.update(f"{utterance.path} {error.errno}\n".encode())
        else:
            text = f"{utterance.path.resolve()} {stat.st_size} {stat.st_mtime_ns}"
            whole.update(f"{text} {utterance.offset} {utterance.duration}\n".encode())
    return whole.hexdigest()[:32]


def _write_index(path: Path, array: Lengths) -> None:
    try:
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.save(file, array)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}") from error
