"""The baseline: PocketSphinx with the English acoustic model that its wheel carries."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torchaudio.functional import resample

from apps.speech.audio import load
from apps.speech.data import SpeechData

RATE = 16000  # Hz, of its acoustic model
# A vocabulary up to this size is searched as a loop of its words, all equally likely.
LARGEST_LOOP = 2000


def fits(data: SpeechData) -> bool:
    """Whether the language is English and its dictionary has every word of the transcripts."""
    return data.source.language == "en" and _vocabulary(data) <= _dictionary()


def recognise_words(data: SpeechData) -> list[str]:
    """What PocketSphinx recognises in each test utterance.

    It knows the words of the training transcripts (or, beyond 2,000 of them, its own language
    model) and hears audio at 16 kHz, to which slower recordings are resampled.
    """
    decoder = _decoder(sorted(_vocabulary(data, ("train",))))
    texts = []
    for utterance in data.utterances["test"]:
        rate = data.front_end.sample_rate
        samples = load(utterance, rate)
        texts.append(
            _recognise(decoder, resample(samples, rate, RATE) if rate != RATE else samples)
        )
    return texts


def _recognise(decoder: Any, samples: Tensor) -> str:
    content = (samples.clamp(-1, 1) * 32767).to(torch.int16).numpy().tobytes()
    decoder.start_utt()
    decoder.process_raw(content, full_utt=True)
    decoder.end_utt()
    found = decoder.hyp()
    # A word's second pronunciation is written "the(2)".
    return "" if found is None else " ".join(w.partition("(")[0] for w in found.hypstr.split())


def _decoder(words: list[str]) -> Any:
    from pocketsphinx import Decoder

    model = _model()
    settings: dict[str, Any] = {
        "hmm": str(model / "en-us"),
        "dict": str(model / "cmudict-en-us.dict"),
        "samprate": RATE,
        "loglevel": "FATAL",
    }
    if len(words) > LARGEST_LOOP:
        return Decoder(lm=str(model / "en-us.lm.bin"), **settings)
    decoder = Decoder(lm=None, **settings)
    grammar = f"#JSGF V1.0;\ngrammar words;\npublic <words> = ( {' | '.join(words)} )+ ;"
    decoder.add_jsgf_string("words", grammar)
    decoder.activate_search("words")
    return decoder


def _model() -> Path:
    from pocketsphinx import get_model_path

    return Path(get_model_path()) / "en-us"


@cache
def _dictionary() -> frozenset[str]:
    """The words that PocketSphinx can pronounce."""
    lines = (_model() / "cmudict-en-us.dict").read_text(encoding="utf-8").splitlines()
    return frozenset(line.split(maxsplit=1)[0] for line in lines if line.strip())


def _vocabulary(data: SpeechData, parts: Iterable[Any] = ("train", "test")) -> set[str]:
    return {word for part in parts for u in data.utterances[part] for word in u.text.split()}
