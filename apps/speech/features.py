"""Features of speech: log-mel energies or MFCC, normalised, in stacked frames."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor
from torchaudio.functional import amplitude_to_DB
from torchaudio.transforms import MFCC, MelSpectrogram

Kind = Literal["logmel", "mfcc"]
Normalize = Literal["utterance", "speaker"]
_FLOOR = 1e-6
_LEAST = 1e-10  # where the floor is relative to the loudest, as quiet recordings need


class Statistics(NamedTuple):
    """Mean and standard deviation (num_bands,) of features over time."""

    mean: Tensor
    spread: Tensor


class FrontEnd:
    """Turns samples into frames of features.

    kind: `logmel`, the logarithm of mel-band energies, or `mfcc`, their cosine transform.
    sample_rate: in Hz, of the samples. num_bands: features of a frame. window_ms, hop_ms:
    length and distance of frames. stack: frames that a network sees as one, so that it gets
    `stack * num_bands` inputs every `stack * hop_ms` milliseconds. top_db: of `logmel`, how far in
    decibels an energy may lie below the utterance's largest, so that what is quieter (silence with
    or without noise) looks alike; None: any. normalize: over what each feature's mean and variance
    are taken: `utterance`, or `speaker`, all utterances of its speaker (each of them, of `logmel`,
    with its largest energy as 0), since the mean of a short utterance holds what it says.
    """

    def __init__(
        self,
        kind: Kind = "logmel",
        sample_rate: int = 8000,
        num_bands: int = 40,
        window_ms: float = 25.0,
        hop_ms: float = 10.0,
        stack: int = 3,
        top_db: float | None = None,
        normalize: Normalize = "utterance",
    ) -> None:
        if kind not in get_args(Kind):
            raise ValueError(f"kind must be one of {', '.join(get_args(Kind))}, got {kind!r}")
        if sample_rate < 4000:
            raise ValueError(f"sample_rate must be >= 4000 Hz, got {sample_rate}")
        if min(num_bands, stack) < 1:
            raise ValueError(f"num_bands={num_bands}, stack={stack}: both must be >= 1")
        if not 0 < hop_ms <= window_ms:
            raise ValueError(f"hop_ms={hop_ms}: must be > 0 and at most window_ms={window_ms}")
        if top_db is not None and (kind != "logmel" or not top_db > 0):
            raise ValueError(f"top_db={top_db}: must be null, or > 0 with kind=logmel")
        if normalize not in get_args(Normalize):
            raise ValueError(
                f"normalize must be one of {', '.join(get_args(Normalize))}, got {normalize!r}"
            )
        self.kind: Kind = kind
        self.sample_rate = sample_rate
        self.num_bands = num_bands
        self.window_ms = window_ms
        self.hop_ms = hop_ms
        self.stack = stack
        self.top_db = top_db
        self.normalize: Normalize = normalize
        # Narrow bands of a short window may hold no bin of the spectrum; twice as many do.
        self._n_fft = 2 << (int(sample_rate * window_ms / 1000) - 1).bit_length()
        self._transform = self._make()

    @property
    def frame_seconds(self) -> float:
        """Seconds between two stacked frames."""
        return self.stack * self.hop_ms / 1000

    @property
    def num_inputs(self) -> int:
        """Features of a stacked frame."""
        return self.stack * self.num_bands

    @property
    def key(self) -> str:
        """A text that changes with the features of single frames."""
        parts: list[object] = [
            self.kind,
            self.sample_rate,
            self.num_bands,
            self.window_ms,
            self.hop_ms,
        ]
        parts += [] if self.top_db is None else [self.top_db]
        parts += [] if self.normalize == "utterance" else [self.normalize]
        return " ".join(map(str, parts))

    @torch.no_grad()
    def __call__(self, samples: Tensor, statistics: Statistics | None = None) -> Tensor:
        """Features (T, num_bands) of samples (N,), each of mean 0 and variance 1 over time.

        statistics: those of the speaker, in the place of the utterance's own.
        """
        features = self.raw(samples)
        mean, spread = statistics or Statistics(
            features.mean(dim=0), features.std(dim=0, correction=0)
        )
        return (features - mean) / (spread + 1e-5)

    @torch.no_grad()
    def raw(self, samples: Tensor) -> Tensor:
        """Features (T, num_bands) of samples (N,), not normalised."""
        least = self._n_fft
        if len(samples) < least:
            samples = torch.nn.functional.pad(samples, (0, least - len(samples)))
        features: Tensor = self._transform(samples)
        if self.kind == "logmel":
            features = self._logarithm(features)
            if self.normalize == "speaker":
                features = features - features.max()
        return features.T

    def _logarithm(self, energies: Tensor) -> Tensor:
        if self.top_db is None:
            return (energies + _FLOOR).log()
        decibels: Tensor = amplitude_to_DB(energies, 10.0, _LEAST, 0.0, self.top_db)
        return decibels

    def stacked(self, features: Tensor) -> Tensor:
        """Frames (T, F) in groups (ceil(T / stack), stack * F), the last filled up with zeros."""
        lacking = -len(features) % self.stack
        padded = torch.nn.functional.pad(features, (0, 0, 0, lacking))
        return padded.reshape(-1, self.num_inputs)

    def num_frames(self, length: int) -> int:
        """Number of stacked frames of `length` single ones."""
        return -(-length // self.stack)

    def _make(self) -> Any:
        spectrum = {
            "n_fft": self._n_fft,
            "win_length": int(self.sample_rate * self.window_ms / 1000),
            "hop_length": int(self.sample_rate * self.hop_ms / 1000),
            "f_min": 20.0,
        }
        if self.kind == "logmel":
            return MelSpectrogram(self.sample_rate, n_mels=self.num_bands, **spectrum)
        spectrum["n_mels"] = max(40, self.num_bands)
        return MFCC(self.sample_rate, self.num_bands, log_mels=True, melkwargs=spectrum)
