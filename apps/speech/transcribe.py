"""Transcribing the user's own files with a trained run."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

from apps.errors import UserError
from apps.speech.alphabet import Alphabet
from apps.speech.audio import spoken
from apps.speech.decoding import Decoder, Spoken
from apps.speech.features import FrontEnd
from apps.speech.layouts import find_audio
from apps.speech.metrics import count_errors, scores
from apps.speech.speakers import speaker_statistics
from apps.speech.task import CTCTask


def transcribe(
    task: CTCTask, alphabet: Alphabet, front_end: FrontEnd, decoder: Decoder, source: Path
) -> tuple[pd.DataFrame, str]:
    """Transcribe an audio file, a folder or a manifest: a row for each file, and an account.

    `words` holds the words with their start and end in seconds of the recording as JSON; a segment
    of one has its `offset` in it. A manifest with texts
    gives the column `reference`, and the account their word error rate. Where the run normalises
    by speaker, a file whose speaker is not named is normalised by itself, and the account says so.
    Raises UserError for audio that cannot be used.
    """
    utterances = find_audio(source)
    rate = front_end.sample_rate
    statistics = speaker_statistics(spoken(utterances, rate), front_end)
    rows, seconds = [], 0.0
    for utterance, samples in spoken(utterances, rate):
        frames = front_end.stacked(front_end(samples, statistics.get(utterance.speaker)))
        found = decoder(task.log_probabilities(frames), alphabet)
        duration = len(samples) / rate
        seconds += duration
        start = utterance.offset or 0.0
        words = [_timed(word, front_end.frame_seconds, start, duration) for word in found.words]
        row = {
            "audio_filepath": str(utterance.path),
            **({} if utterance.offset is None else {"offset": utterance.offset}),
            "duration": duration,
            "text": found.text,
            "words": json.dumps(words, ensure_ascii=False),
        }
        rows.append(row | ({"reference": utterance.text} if utterance.text else {}))
    table = pd.DataFrame(rows)
    account = f"{source}: {len(rows)} utterances, {seconds:.1f} s of audio"
    unnamed = sum(not utterance.speaker for utterance in utterances)
    if front_end.normalize == "speaker" and unnamed:
        account += f"; {unnamed} name no speaker and were normalised each by itself"
    if "reference" in table and table["reference"].notna().all():
        rates = scores(count_errors(list(table["reference"]), list(table["text"])))
        account += f"; word error rate {rates['wer']:.2f} %, of characters {rates['cer']:.2f} %"
    return table, account


def alphabet_of(description: dict[str, object]) -> Alphabet:
    """The alphabet that a run noted; UserError if it noted none."""
    try:
        return Alphabet(description["units"], tuple(description["tokens"]))  # type: ignore[arg-type]
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"the run's data.json describes no alphabet: {error}") from error


def _timed(spoken: Spoken, step: float, offset: float, duration: float) -> dict[str, object]:
    """A word with its times in the recording."""
    start, end = offset + spoken.start * step, offset + min(spoken.end * step, duration)
    return {"word": spoken.word, "start": round(start, 3), "end": round(end, 3)}
