"""Reading audio files, or segments of them, with every damage named."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchaudio.functional import resample

from apps.errors import UserError
from apps.speech.containers import is_cut, with_size
from apps.speech.utterances import Utterance

# How much shorter or longer than its manifest says a file may be, in seconds.
TOLERANCE = 0.1
_BLOCK = 1 << 20  # frames read at a time: of some formats the number is not known before
_CURE = "convert it to WAV or FLAC first, such as by ffmpeg -i FILE FILE.flac"

Samples = NDArray[np.float32]


def load(utterance: Utterance, sample_rate: int) -> Tensor:
    """The samples of an utterance (N,), float32 in [-1, 1]: mono, at `sample_rate`.

    Channels are averaged. Of an utterance with an `offset`, or one whose `duration` is shorter
    than its file, only that segment is read. Raises UserError naming the file when it cannot be
    read, is empty or truncated, or was recorded at a lower rate, since what it lacks cannot be
    made up.
    """
    path = utterance.path
    try:
        samples, rate = _read(utterance)
    except (soundfile.SoundFileError, OSError, TypeError, ValueError) as error:
        # libsndfile's own words, without the name of the file once more.
        what = getattr(error, "error_string", error)
        reason = f"cannot be read as audio ({str(what).rstrip('. ')}); {_CURE}"
        raise UserError(f"{path}: {reason if path.is_file() else 'no such file'}") from error
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


def _read(utterance: Utterance) -> tuple[Samples, int]:
    """The samples (N, channels) of an utterance, and their rate."""
    path = utterance.path
    with soundfile.SoundFile(with_size(path)) as file:
        rate, frames = int(file.samplerate), int(file.frames)
        start = round((utterance.offset or 0.0) * rate)
        if start and start >= frames:
            raise UserError(
                f"{path}: offset={utterance.offset}: behind its end at {frames / rate:.2f} s"
            )
        wanted = _frames_of(utterance, rate, frames)
        samples = _frames(file, start, frames if wanted is None else wanted)
        counted = file.format != "MP3" or _counts_frames(path)
    lacking = frames - start - len(samples) if counted and wanted is None else 0
    if utterance.duration is not None:
        lacking = max(lacking, int((utterance.duration - TOLERANCE) * rate) - len(samples))
    if lacking > 0 or is_cut(path):
        told = f", its manifest says duration={utterance.duration:g}" if utterance.duration else ""
        raise UserError(
            f"{path}: truncated: ends after {(start + len(samples)) / rate:.2f} s{told}"
        )
    return samples, rate


def _frames_of(utterance: Utterance, rate: int, frames: int) -> int | None:
    """How many frames are the utterance's; None where all to the end are."""
    if utterance.duration is None:
        return None
    told = round(utterance.duration * rate)
    # Without an offset the duration may just be that of the file, rounded.
    if utterance.offset is None and frames - told <= TOLERANCE * rate:
        return None
    return told


def _frames(file: soundfile.SoundFile, start: int, count: int) -> Samples:
    """Frames from a place on, as many as there are; also of formats that cannot seek."""
    if start and file.seekable():
        file.seek(start)
        start = 0
    blocks = []
    while start + count > 0:
        block = file.read(min(_BLOCK, start + count), dtype="float32", always_2d=True)
        if len(block) == 0:
            break
        kept = block[start:]
        start = max(0, start - len(block))
        count -= len(kept)
        blocks.append(kept)
    return np.concatenate(blocks) if blocks else np.zeros((0, 1), np.float32)


def _counts_frames(path: Path) -> bool:
    """Whether an MP3 says how many frames it has; in others the number is a guess."""
    with path.open("rb") as file:
        head = file.read(1 << 16)
    return any(tag in head for tag in (b"Xing", b"Info", b"VBRI"))
