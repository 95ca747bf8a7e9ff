"""The baseline: PocketSphinx with the English acoustic model that its wheel carries."""

from __future__ import annotations

import time
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torchaudio.functional import resample

from apps.base.application import Evaluation
from apps.speech.audio import load
from apps.speech.data import SpeechData
from apps.speech.recognition import scored
from apps.speech.sources import Source

RATE = 16000  # Hz, of its acoustic model
# A vocabulary up to this size is searched as a loop of its words, all equally likely.
LARGEST_LOOP = 2000


def fits(data: SpeechData) -> bool:
    """Whether the language is English and its dictionary has every word of the transcripts.

    The dictionary is the data set's own where there is one.
    """
    return data.source.language == "en" and _vocabulary(data) <= _words(_dictionary(data.source))


def pocketsphinx(data: SpeechData) -> Evaluation:
    """The scores of what PocketSphinx recognises in the test utterances.

    It hears audio at 16 kHz, to which slower recordings are resampled, and expects words as the
    data set's own language model does; where there is none, those of the training transcripts
    in any order (beyond 2,000 of them, as its own language model does). `rtf` is its seconds per
    second of audio.
    """
    decoder = _decoder(data.source, sorted(_vocabulary(data, ("train",))))
    texts, seconds, heard = [], 0.0, 0.0
    for utterance in data.utterances["test"]:
        rate = data.front_end.sample_rate
        samples = load(utterance, rate)
        heard += len(samples) / rate
        started = time.perf_counter()
        texts.append(
            _recognise(decoder, resample(samples, rate, RATE) if rate != RATE else samples)
        )
        seconds += time.perf_counter() - started
    found = scored(data, texts)
    return Evaluation(found.metrics | {"rtf": seconds / heard}, found.predictions)


def _recognise(decoder: Any, samples: Tensor) -> str:
    content = (samples.clamp(-1, 1) * 32767).to(torch.int16).numpy().tobytes()
    decoder.start_utt()
    decoder.process_raw(content, full_utt=True)
    decoder.end_utt()
    found = decoder.hyp()
    # A word's second pronunciation is written "the(2)".
    return "" if found is None else " ".join(w.partition("(")[0] for w in found.hypstr.split())


def _decoder(source: Source, words: list[str]) -> Any:
    from pocketsphinx import Decoder

    settings: dict[str, Any] = {
        "hmm": str(_model() / "en-us"),
        "dict": str(_dictionary(source)),
        "samprate": RATE,
        "loglevel": "FATAL",
    }
    if source.language_model is not None or len(words) > LARGEST_LOOP:
        return Decoder(lm=str(source.language_model or _model() / "en-us.lm.bin"), **settings)
    decoder = Decoder(lm=None, **settings)
    grammar = f"#JSGF V1.0;\ngrammar words;\npublic <words> = ( {' | '.join(words)} )+ ;"
    decoder.add_jsgf_string("words", grammar)
    decoder.activate_search("words")
    return decoder


def _model() -> Path:
    from pocketsphinx import get_model_path

    return Path(get_model_path()) / "en-us"


def _dictionary(source: Source) -> Path:
    """The pronunciations that serve: the data set's own or PocketSphinx'."""
    return source.dictionary or _model() / "cmudict-en-us.dict"


@cache
def _words(dictionary: Path) -> frozenset[str]:
    """The words that a dictionary pronounces."""
    lines = dictionary.read_text(encoding="utf-8").splitlines()
    return frozenset(line.split(maxsplit=1)[0] for line in lines if line.strip())


def _vocabulary(data: SpeechData, parts: Iterable[Any] = ("train", "test")) -> set[str]:
    return {word for part in parts for u in data.utterances[part] for word in u.text.split()}
