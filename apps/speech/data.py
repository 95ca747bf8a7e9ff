"""The speech application's data: utterances as features and outputs, in batches."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch.utils.data import DataLoader

from apps.base.account import Account
from apps.base.application import DataModule
from apps.base.sampler import LengthSampler, TrainLoader
from apps.errors import UserError
from apps.speech.alphabet import Alphabet, fit_alphabet, least_frames
from apps.speech.batches import Batch, Utterances
from apps.speech.feature_store import feature_store
from apps.speech.features import FrontEnd
from apps.speech.sources import PARTS, Source
from apps.speech.utterances import Corpus, Part, Utterance


class SpeechData(DataModule):
    """Utterances of a source in three parts, with features and outputs.

    cache: folder of computed features; None computes them anew. skip_bad: leave out, with a
    warning, training and validation utterances that cannot be used.
    """

    def __init__(
        self,
        source: Source,
        front_end: FrontEnd,
        *,
        batch_size: int,
        seed: int,
        cache: Path | None = None,
        num_workers: int = 0,
        skip_bad: bool = False,
    ) -> None:
        super().__init__()
        self.source = source
        self.front_end = front_end
        self.batch_size = batch_size
        self.seed = seed
        self.cache = cache
        self.num_workers = num_workers
        self.skip_bad = skip_bad

    def prepare_data(self) -> None:
        """Fetch what has to be fetched."""
        self.source.fetch()

    def setup(self, stage: str) -> None:
        """Read the transcripts, compute the features and check that each pair fits, once."""
        if hasattr(self, "alphabet"):
            return
        corpus = self.source.read()
        self._check_speakers(corpus)
        alphabet = fit_alphabet(corpus["train"], self.source.units)
        self.utterances: dict[Part, list[Utterance]] = {}
        self.parts: dict[Part, Utterances] = {}
        for part in PARTS:
            self._load(part, corpus, alphabet)
        self.alphabet = alphabet
        self.account = self._account()

    def _check_speakers(self, corpus: Corpus) -> None:
        """UserError for utterances without a speaker where speakers are normalised."""
        if self.front_end.normalize == "speaker":
            unnamed = sum(not u.speaker for part in PARTS for u in corpus[part])
            if unnamed:
                raise UserError(
                    f"features.normalize=speaker: {unnamed} utterances of {self.source.name} name "
                    "no speaker; name them all, or take features.normalize=utterance"
                )

    def _load(self, part: Part, corpus: Corpus, alphabet: Alphabet) -> None:
        """Keep the utterances of a part that can be used, all of them unless `skip_bad`."""
        skip = _warn if self.skip_bad and part != "test" else None
        chosen = list(corpus[part])
        store, numbers = feature_store(chosen, self.front_end, self.cache, skip)
        kept, targets, rows = [], [], []
        for row, number in enumerate(numbers):
            utterance = chosen[number]
            try:
                outputs = self._outputs(utterance, alphabet, int(store.lengths[row]))
            except UserError as error:
                if skip is None:
                    raise
                skip(str(error))
                continue
            kept.append(utterance)
            targets.append(outputs)
            rows.append(row)
        if not kept:
            raise UserError(f"{self.source.name}: no utterance of the part {part} can be used")
        self.utterances[part] = kept
        self.parts[part] = Utterances(store, self.front_end, targets, rows)

    def _outputs(self, utterance: Utterance, alphabet: Alphabet, length: int) -> Sequence[int]:
        """The outputs of an utterance; UserError if its frames cannot hold them."""
        outputs = alphabet.encode(utterance.text)
        frames, least = self.front_end.num_frames(length), least_frames(outputs)
        if frames < least:
            raise UserError(
                f"{utterance.path}: {frames} frames are too few for its transcript, whose "
                f"{len(outputs)} {alphabet.units} need {least} under CTC; lower features.stack or "
                "features.hop_ms, or leave it out with app.skip_bad=true"
            )
        return outputs

    @property
    def description(self) -> dict[str, Any]:
        """What a trained run has to know about its data, as plain values."""
        return {"units": self.alphabet.units, "tokens": list(self.alphabet.tokens)}

    @property
    def fingerprint(self) -> str:
        """A hash of the transcripts, their parts and the lengths of the audio."""
        whole = hashlib.sha256()
        for part in PARTS:
            data = self.parts[part]
            for utterance, length in zip(self.utterances[part], data.lengths, strict=True):
                where = f"{utterance.path.name} {utterance.offset}"
                whole.update(f"{part} {where} {utterance.text} {length}\n".encode())
        return whole.hexdigest()[:16]

    def train_dataloader(self) -> DataLoader[Batch]:
        """Batches of similar length, drawn anew in each epoch."""
        lengths = self.parts["train"].lengths
        sampler = LengthSampler(lengths, self.batch_size, self.seed)
        return TrainLoader(self.parts["train"], sampler=sampler, **self._options)

    def val_dataloader(self) -> DataLoader[Batch]:
        """The validation part in order of length."""
        lengths = self.parts["val"].lengths
        order = sorted(range(len(lengths)), key=lengths.__getitem__)
        starts = range(0, len(order), self.batch_size)
        batches = [order[i : i + self.batch_size] for i in starts]
        return DataLoader(self.parts["val"], sampler=batches, **self._options)

    @property
    def _options(self) -> dict[str, Any]:
        workers = self.num_workers
        return {"batch_size": None, "num_workers": workers, "persistent_workers": workers > 0}

    def _account(self) -> Account:
        """What was found, part by part."""
        lines = {"file": "; ".join(filter(None, [self.source.name, self.source.found]))}
        for part in PARTS:
            utterances = self.utterances[part]
            seconds = sum(self.parts[part].lengths) * self.front_end.frame_seconds
            named = {utterance.speaker for utterance in utterances if utterance.speaker}
            speakers = f"{len(named)} speakers" if named else "speakers not named"
            length = f"{seconds / 60:.1f} min" if seconds >= 60 else f"{seconds:.1f} s"
            lines[part] = f"{len(utterances)} utterances, {length}, {speakers}"
        alphabet = self.alphabet
        lines["tokens"] = f"{len(alphabet.tokens)} {alphabet.units} of the training transcripts"
        if self.source.units is None:
            lines["tokens"] += f", as suits them (data.units={alphabet.units})"
        unheard = self._unheard()
        return Account(lines | ({"unheard": unheard} if unheard else {}))

    def _unheard(self) -> str:
        """What of the held-out transcripts no training transcript has, which no network can say."""
        unknown = {
            token: None
            for part in ("val", "test")
            for utterance in self.utterances[part]
            for token in self.alphabet.unknown(utterance.text)
        }
        if not unknown:
            return ""
        shown = ", ".join(repr(token) for token in list(unknown)[:5])
        cure = "; data.units=characters spells them" if self.alphabet.units == "words" else ""
        return (
            f"{len(unknown)} {self.alphabet.units} of val and test are in no training transcript "
            f"and count as errors: {shown}{cure}"
        )


def _warn(message: str) -> None:
    logging.getLogger(__name__).warning("left out: %s", message)
