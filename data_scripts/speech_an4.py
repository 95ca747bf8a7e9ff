"""CMU AN4: spelt words, numbers and dates, 16 kHz, 74 training and 10 test speakers."""

from __future__ import annotations

import re
from collections.abc import Iterator

from data_scripts.speech_files import Recording, decode

# Speakers of the official training part that serve to choose the checkpoint on.
VAL_SPEAKERS = frozenset({"fash", "fejs", "mjbh", "mewl", "mtos", "fnsv"})
_LINE = re.compile(r"^(?:<s>)?\s*(?P<text>.*?)\s*(?:</s>)?\s*\((?P<name>[^)]+)\)\s*$")


def official_split(files: dict[str, bytes]) -> Iterator[Recording]:
    """The utterances of the archive's files, with the official test part."""
    for part in ("train", "test"):
        places = files[f"etc/an4_{part}.fileids"].decode().split()
        for line in files[f"etc/an4_{part}.transcription"].decode().splitlines():
            match = _LINE.match(line)
            if match is None:
                continue
            place = next(p for p in places if p.endswith(f"/{match['name']}"))
            speaker = place.split("/")[-2]
            samples, rate = decode(files[f"wav/{place}.wav"])
            yield Recording(
                "val" if part == "train" and speaker in VAL_SPEAKERS else part,
                match["name"],
                samples,
                rate,
                match["text"].lower(),
                speaker,
            )


def language_model(files: dict[str, bytes]) -> str:
    """AN4's own unigram model in ARPA format, in lower case, without the text before it."""
    text = files["etc/an4.lm"].decode()
    model = text[text.rindex("\\data\\") :].lower()
    # KenLM wants tabs between the fields.
    return re.sub(r"^(-?\d+\.\d+)[ \t]+(\S+)[ \t]*", r"\1\t\2\t", model, flags=re.M)


def dictionary(files: dict[str, bytes]) -> str:
    """AN4's own pronunciations, in lower case words, as CMU Sphinx reads them."""
    lines = files["etc/an4.dic"].decode().splitlines()
    pairs = (line.split(maxsplit=1) for line in lines if line.strip())
    return "".join(f"{word.lower()} {' '.join(phones.split())}\n" for word, phones in pairs)
