"""Speech recognition: what it brings to the shared verbs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from torch import nn

from apps.base.application import Application, Evaluation
from apps.base.task import Optimization, Task
from apps.report.charts.theme import Figure
from apps.report.model.results import Metric
from apps.speech.augment import Augment
from apps.speech.baselines import fits, pocketsphinx
from apps.speech.data import SpeechData
from apps.speech.decoding import Decoder
from apps.speech.features import FrontEnd
from apps.speech.figures import figures
from apps.speech.recognition import recognise
from apps.speech.sources import Source
from apps.speech.task import CTCTask
from apps.speech.transcribe import alphabet_of, transcribe


class Speech(Application):
    """Recognition of speech by acoustic models trained with CTC.

    The arguments are documented in `conf/app/speech.yaml`.
    """

    title = "Speech recognition"
    metric = "wer"
    metrics = (
        Metric("wer", "WER", "%", "min", 2),
        Metric("wer_low", "WER, 95 % from", "%", "min", 1),
        Metric("wer_high", "WER, 95 % to", "%", "min", 1),
        Metric("cer", "CER", "%", "min", 2),
        Metric("cer_low", "CER, 95 % from", "%", "min", 1),
        Metric("cer_high", "CER, 95 % to", "%", "min", 1),
        Metric("ser", "Sentences wrong", "%", "min", 1),
        Metric("rtf", "Real-time factor", "", "min", 4, repeatable=False),
    )

    def __init__(
        self,
        name: str,
        features: FrontEnd,
        decoder: Decoder,
        augment: Augment | None = None,
        batch_size: int = 16,
        cache: str | None = None,
        num_workers: int = 0,
        skip_bad: bool = False,
    ) -> None:
        super().__init__(name)
        if batch_size < 1:
            raise ValueError(f"batch_size must be >= 1, got {batch_size}")
        if num_workers < 0:
            raise ValueError(f"num_workers must be >= 0, got {num_workers}")
        if features.kind != "logmel" and augment is not None and augment.vtlp:
            raise ValueError(f"augment.vtlp={augment.vtlp}: needs features.kind=logmel")
        self.features = features
        self.decoder = decoder
        self.augment = augment
        self.batch_size = batch_size
        self.cache = None if cache is None else Path(cache)
        self.num_workers = num_workers
        self.skip_bad = skip_bad

    def datamodule(self, source: Source, seed: int) -> SpeechData:
        """The utterances of a source, as features and outputs."""
        return SpeechData(
            source,
            self.features,
            batch_size=self.batch_size,
            seed=seed,
            cache=self.cache,
            num_workers=self.num_workers,
            skip_bad=self.skip_bad,
        )

    def sizes(self, description: Mapping[str, Any]) -> dict[str, int]:
        """Numbers of inputs, of frames stacked in them, and of outputs."""
        return {
            "num_inputs": self.features.num_inputs,
            "num_stacked": self.features.stack,
            "num_outputs": alphabet_of(dict(description)).size,
        }

    def task(
        self, net: nn.Module, description: Mapping[str, Any], optimization: Optimization
    ) -> Task:
        """Wrap a network with the CTC loss; the decoder has to fit its outputs."""
        self.decoder.prepare(alphabet_of(dict(description)))
        return CTCTask(net, optimization, self.features.num_bands, self.augment)

    def evaluate(self, task: Task, data: SpeechData) -> Evaluation:
        """Recognise every test utterance and score the texts."""
        assert isinstance(task, CTCTask)
        return recognise(task, data, self.decoder)

    def baselines(self, data: SpeechData) -> Iterator[tuple[str, Evaluation]]:
        """PocketSphinx, where it knows the language and the words."""
        if fits(data):
            yield "pocketsphinx", pocketsphinx(data)

    def predict(
        self, task: Task, description: Mapping[str, Any], source: Path
    ) -> tuple[pd.DataFrame, str]:
        """Transcribe an audio file, a folder of them, or a manifest."""
        assert isinstance(task, CTCTask)
        alphabet = alphabet_of(dict(description))
        return transcribe(task, alphabet, self.features, self.decoder, source)

    def figures(
        self, data: SpeechData, predictions: Mapping[str, pd.DataFrame]
    ) -> Sequence[Figure]:
        """Emissions over the spectrogram, and kinds of errors."""
        return figures(data, predictions)

    @property
    def notes(self) -> list[str]:
        """What a reader of the scores must know."""
        return [
            "WER counts substituted, deleted and inserted words per word said; CER the same in "
            "characters; their intervals are bootstraps over test utterances and do not cover the "
            "spread over seeds. The real-time factor is the time of features, network and decoder "
            "over that of the sound. The CTC loss is averaged over outputs and utterances, on "
            "which the size of gradients depends.",
            "PocketSphinx, where it is shown, is not trained on this data: its English model hears "
            "the same test audio, with the data set's own dictionary and language model where it "
            "has them, else with a loop of the training vocabulary as its grammar.",
        ]
