"""Recognising the test utterances, and what is kept of it for scores and pictures."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch

from apps.base.application import Evaluation
from apps.speech.alphabet import Alphabet
from apps.speech.audio import spoken
from apps.speech.data import SpeechData
from apps.speech.decoding import Decoder
from apps.speech.metrics import COUNTS, count_errors, scores
from apps.speech.speakers import speaker_statistics
from apps.speech.task import CTCTask


def recognise(task: CTCTask, data: SpeechData, decoder: Decoder) -> Evaluation:
    """Recognise and score every test utterance, one at a time.

    `rtf` is the seconds of features, network and decoder per second of audio, reading the file
    and the statistics of speakers not counted. The probabilities of two utterances (the longest of
    those without an error, and the one with the most errors) are kept for a picture.
    """
    alphabet, front_end = data.alphabet, data.front_end
    texts, kept = [], []
    utterances, rate = data.utterances["test"], front_end.sample_rate
    statistics = speaker_statistics(spoken(utterances, rate), front_end)
    seconds = audio = 0.0
    for utterance, samples in spoken(utterances, rate):
        audio += len(samples) / rate
        started = time.perf_counter()
        features = front_end(samples, statistics.get(utterance.speaker))
        probabilities = task.log_probabilities(front_end.stacked(features))
        texts.append(decoder(probabilities, alphabet).text)
        seconds += time.perf_counter() - started
        kept.append(probabilities)
    evaluation = scored(data, texts)
    shown = set(_shown(evaluation.predictions))
    evaluation.predictions["emissions"] = [
        one.exp().half().flatten().tolist() if number in shown else None
        for number, one in enumerate(kept)
    ]
    return Evaluation(evaluation.metrics | {"rtf": seconds / audio}, evaluation.predictions)


def scored(data: SpeechData, texts: Sequence[str]) -> Evaluation:
    """The scores of texts recognised in the test utterances, and a row for each."""
    utterances = data.utterances["test"]
    references = [utterance.text for utterance in utterances]
    counts = count_errors(references, texts)
    table = pd.DataFrame(
        {
            "audio": [utterance.path.name for utterance in utterances],
            "speaker": [utterance.speaker for utterance in utterances],
            "reference": references,
            "hypothesis": list(texts),
        }
    )
    return Evaluation(scores(counts), pd.concat([table, counts[list(COUNTS)]], axis=1))


def emissions(row: pd.Series[object], alphabet: Alphabet) -> torch.Tensor:
    """The kept probabilities (T, V) of an utterance."""
    flat = np.asarray(row["emissions"], dtype=np.float32)
    return torch.from_numpy(flat).reshape(-1, alphabet.size)


def _shown(table: pd.DataFrame) -> list[int]:
    wrong = table[["substitutions", "deletions", "insertions"]].sum(axis=1).to_numpy()
    length = table["reference"].str.len().to_numpy()
    right = np.flatnonzero(wrong == 0)
    chosen = [int(wrong.argmax())]
    if len(right):
        chosen.insert(0, int(right[length[right].argmax()]))
    return chosen
