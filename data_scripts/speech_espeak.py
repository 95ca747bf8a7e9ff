"""Spoken digit strings by the synthesiser eSpeak NG, in many voices and accents of English."""

from __future__ import annotations

import ctypes
import platform
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from scipy.signal import resample_poly

from data_scripts.manifest import DataError
from data_scripts.speech_files import Recording, Samples
from data_scripts.unpacking import MAX_ARCHIVE

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
RATE = 8000
MAX_DIGITS = 6
COUNTS = {"train": 1200, "val": 150, "test": 200}
ACCENTS = ("en", "en-US", "en-US-nyc", "en-GB-x-rp", "en-GB-x-gbclan", "en-GB-x-gbcwmd")
TEST_ACCENTS = ("en-029", "en-GB-scotland")
NUM_VAL_VOICES, NUM_TEST_VOICES = 10, 20
# Whispered or unintelligible even to people; and voices that never sound the same twice.
LEFT_OUT = frozenset({"whisper", "whisperf", "UniRobot", "Demonic", "croak", "Tweaky"})
LEFT_OUT |= {"Alicia", "f2", "f3", "f5", "sandro", "victor"}
# Constants of speak_lib.h.
_SYNCHRONOUS, _DONT_EXIT, _UTF8 = 2, 0x8000, 1
_SPEED, _PITCH, _RANGE = 1, 3, 4


class Synthesiser:
    """eSpeak NG out of its wheel, unpacked into a folder of its own.

    Its samples depend on what was said before: the same calls on a fresh copy give the same.
    """

    def __init__(self, wheel: Path, folder: Path) -> None:
        _unpack(wheel, folder)
        home = folder / "espeakng_loader"
        suffix = {"Windows": "espeak-ng.dll", "Darwin": "libespeak-ng.dylib"}
        file = home / suffix.get(platform.system(), "libespeak-ng.so")
        try:
            self._library = ctypes.CDLL(str(file))
        except OSError as error:
            raise DataError(f"{wheel.name}: its library cannot be loaded ({error})") from None
        self.voices = sorted(p.name for p in (home / "espeak-ng-data/voices/!v").iterdir())
        self.rate = int(
            self._library.espeak_Initialize(_SYNCHRONOUS, 0, str(home).encode(), _DONT_EXIT)
        )
        if self.rate <= 0:
            raise DataError(f"{wheel.name}: eSpeak NG does not start")
        self._chunks: list[Any] = []
        kind = ctypes.CFUNCTYPE(
            ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
        )
        self._callback = kind(self._take)
        self._library.espeak_SetSynthCallback(self._callback)

    def _take(self, samples: Any, count: int, events: Any) -> int:
        if samples and count > 0:
            self._chunks.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0

    def say(self, text: str, voice: str, speed: int, pitch: int, spread: int) -> Samples:
        """The samples of a text in [-1, 1]. speed: words a minute. pitch, spread: 0 to 100."""
        if self._library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise DataError(f"eSpeak NG has no voice {voice}")
        for parameter, value in ((_SPEED, speed), (_PITCH, pitch), (_RANGE, spread)):
            self._library.espeak_SetParameter(parameter, value, 0)
        self._chunks.clear()
        content = text.encode()
        size = ctypes.c_size_t(len(content) + 1)
        self._library.espeak_Synth(content, size, 0, 1, 0, _UTF8, None, None)
        self._library.espeak_Synchronize()
        if not self._chunks:
            raise DataError(f"eSpeak NG says nothing for {text!r} in voice {voice}")
        whole: Samples = np.concatenate(self._chunks) / 32768.0
        return whole

    def close(self) -> None:
        """Let go of the library's data."""
        self._library.espeak_Terminate()


def _unpack(wheel: Path, folder: Path) -> None:
    """Unpack a wheel whose members all lie inside it; DataError for any other."""
    try:
        with zipfile.ZipFile(wheel) as packed:
            if sum(member.file_size for member in packed.infolist()) > MAX_ARCHIVE:
                raise DataError(f"{wheel}: larger than {MAX_ARCHIVE} bytes when unpacked")
            for name in packed.namelist():
                path = PurePosixPath(name)
                if path.is_absolute() or ".." in path.parts or "\\" in name:
                    raise DataError(f"{wheel}: {name} lies outside the archive")
            packed.extractall(folder)
    except (OSError, zipfile.BadZipFile) as error:
        raise DataError(f"{wheel}: cannot be unpacked ({error})") from None


def digit_strings(wheel: Path, counts: dict[str, int] | None = None) -> Iterator[Recording]:
    """Strings of one to six digits at 8 kHz; the test has voices and accents of its own.

    Speed, pitch and its range are drawn for each string. Always the same for the same wheel.
    """
    rng = np.random.default_rng(20261122)
    with tempfile.TemporaryDirectory(prefix="espeak-", ignore_cleanup_errors=True) as name:
        synthesiser = Synthesiser(wheel, Path(name))
        voices = [v for v in synthesiser.voices if v not in LEFT_OUT]
        voices = [voices[i] for i in rng.permutation(len(voices))]
        first = NUM_TEST_VOICES + NUM_VAL_VOICES
        pools = {
            "train": (voices[first:], ACCENTS),
            "val": (voices[NUM_TEST_VOICES:first], ACCENTS),
            "test": (voices[:NUM_TEST_VOICES], TEST_ACCENTS),
        }
        for part, count in (counts or COUNTS).items():
            for number in range(count):
                yield _digit_string(synthesiser, rng, part, number, *pools[part])
        synthesiser.close()


def _digit_string(
    synthesiser: Synthesiser,
    rng: np.random.Generator,
    part: str,
    number: int,
    voices: list[str],
    accents: tuple[str, ...],
) -> Recording:
    text = " ".join(rng.choice(DIGITS, rng.integers(1, MAX_DIGITS + 1)))
    voice, accent = rng.choice(voices), rng.choice(accents)
    speed, pitch, spread = rng.integers(120, 231), rng.integers(15, 86), rng.integers(20, 81)
    said = synthesiser.say(text, f"gmw/{accent}+{voice}", int(speed), int(pitch), int(spread))
    samples = resample_poly(said, RATE, synthesiser.rate)
    return Recording(
        part, f"{part}-{number:04d}", np.clip(samples, -1, 1), RATE, text, f"{accent}+{voice}"
    )
