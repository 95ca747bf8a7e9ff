"""Reading audio files, with every damage named."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from pathlib import Path

import soundfile
import torch
from torch import Tensor
from torchaudio.functional import resample

from apps.errors import UserError
from apps.speech.utterances import Utterance

# How much shorter than its manifest says a file may be, in seconds.
TOLERANCE = 0.1
# Bytes of an Ogg page: its header, whose last byte counts the segments, and the most there can be.
_PAGE_HEADER = 27
_LARGEST_PAGE = _PAGE_HEADER + 255 + 255 * 255


def load(utterance: Utterance, sample_rate: int) -> Tensor:
    """The samples of an utterance (N,), float32 in [-1, 1]: mono, at `sample_rate`.

    Channels are averaged. Raises UserError naming the file when it cannot be read, is empty or
    truncated, or was recorded at a lower rate, since what it lacks cannot be made up.
    """
    path = utterance.path
    try:
        with soundfile.SoundFile(path) as file:
            rate, frames = int(file.samplerate), int(file.frames)
            samples = file.read(dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, OSError, TypeError) as error:
        # libsndfile's own words, without the name of the file once more.
        what = getattr(error, "error_string", error)
        reason = "no such file" if not path.is_file() else f"cannot be read as audio ({what})"
        raise UserError(f"{path}: {reason}") from error
    lacking = frames - len(samples)
    if utterance.duration is not None:
        lacking = max(lacking, int((utterance.duration - TOLERANCE) * rate) - len(samples))
    if lacking > 0 or _is_cut(path):
        raise UserError(f"{path}: truncated: ends after {len(samples) / rate:.2f} s")
    if len(samples) == 0:
        raise UserError(f"{path}: holds no sound")
    if rate < sample_rate:
        raise UserError(
            f"{path}: recorded at {rate} Hz, but the features need {sample_rate} Hz; "
            f"train with features.sample_rate={rate} for such files"
        )
    mono = torch.from_numpy(samples).mean(dim=1)
    if not bool(mono.isfinite().all()):
        raise UserError(f"{path}: holds samples that are not finite")
    return mono if rate == sample_rate else resample(mono, rate, sample_rate)


def spoken(utterances: Iterable[Utterance], sample_rate: int) -> Iterator[tuple[Utterance, Tensor]]:
    """Utterances with their samples, read one after the other as `load` reads them."""
    return ((utterance, load(utterance, sample_rate)) for utterance in utterances)


def _is_cut(path: Path) -> bool:
    """Whether a WAV or OGG file ends before its header says; libsndfile reads it all the same."""
    whole = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(8)
        if head[:4] == b"OggS":
            file.seek(max(0, whole - _LARGEST_PAGE))
            return _ends_within_a_page(file.read())
    if len(head) < 8 or head[:4] != b"RIFF":
        return False
    (size,) = struct.unpack("<I", head[4:])
    # Recorders that stream leave the size empty.
    return bool(0 < size < 0xFFFFFFFF and whole < size)


def _ends_within_a_page(tail: bytes) -> bool:
    """Whether the last page of an Ogg file lacks bytes (RFC 3533, section 6)."""
    page = tail[tail.rfind(b"OggS") :]
    if len(page) < _PAGE_HEADER:
        return True
    segments = page[_PAGE_HEADER : _PAGE_HEADER + page[_PAGE_HEADER - 1]]
    return len(page) < _PAGE_HEADER + page[_PAGE_HEADER - 1] + sum(segments)
