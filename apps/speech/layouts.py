"""The folders that speech corpora come in: what lies in one tells how it is laid out."""

from __future__ import annotations

import glob
import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import soundfile

from apps.errors import UserError
from apps.speech.manifest import TABLES, find_file, read_manifest, read_text
from apps.speech.utterances import Part, Utterance, as_seconds, normalize
from apps.tables.reading import Reading

AUDIO = frozenset(
    {".wav", ".wave", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aiff", ".aif", ".aifc", ".au"}
    | {".snd", ".caf", ".w64", ".rf64", ".sph", ".nist", ".voc"}
)
# What libsndfile does not read, in which people have recordings all the same.
_FOREIGN = frozenset({".m4a", ".aac", ".mp4", ".wma", ".webm", ".amr", ".3gp", ".shn"})
# TIMIT's texts begin with their first and last sample.
_TIMIT = re.compile(r"0 \d+ ")
_MANIFESTS = ("metadata.csv", "metadata.jsonl", "manifest.jsonl", "manifest.json", "manifest.csv")
_PARTS: dict[Part, tuple[str, ...]] = {
    "train": ("train",),
    "val": ("dev", "val", "valid", "validation"),
    "test": ("test",),
}
# Common Voice's own parts; `validated.tsv` and others overlap with them.
_COMMON_VOICE: dict[Part, str] = {"train": "train.tsv", "val": "dev.tsv", "test": "test.tsv"}

Parts = dict[Part, list[Utterance]]


@dataclass(frozen=True, slots=True)
class Layout:
    """What was found at a path: how it is laid out, and its utterances by part."""

    name: str
    parts: Parts

    @property
    def utterances(self) -> list[Utterance]:
        """Those of all parts."""
        return [utterance for part in self.parts.values() for utterance in part]


def read_layout(path: Path, reading: Reading | None = None) -> Layout:
    """The transcribed utterances at a path: a manifest, or the folder of a corpus.

    Folders may be those of LibriSpeech (`*.trans.txt`), Common Voice (`train.tsv` beside `clips`),
    Kaldi (`wav.scp` and `text`, with or without `segments` and `utt2spk`), LJ Speech, hold a
    manifest (`metadata.csv`), or audio files with a `.txt` of the same name for each; and such
    folders named `train`, `dev` and `test`. reading: of a manifest. Raises UserError for others.
    """
    if not path.is_dir():
        return Layout("manifest", {"train": read_manifest(path, reading)})
    found = _of_folder(path, reading)
    if found is not None:
        return found
    raise UserError(
        f"data.path={path}: a folder of no known layout; known: a manifest (JSON lines, CSV, TSV), "
        f"or folders of {', '.join(_folders(reading))}"
    )


def _of_folder(path: Path, reading: Reading | None) -> Layout | None:
    for name, read in _folders(reading).items():
        parts = read(path)
        if parts:
            return Layout(name, parts)
    return None


def find_audio(source: Path) -> list[Utterance]:
    """The utterances of an audio file, of all audio files below a folder, or of a manifest.

    Raises UserError when there are none, and for audio in a folder that cannot be read.
    """
    if source.is_dir():
        files = audio_files(source)
        if not files:
            kinds = ", ".join(sorted(AUDIO))
            raise UserError(f"input={source}: no audio files in it ({kinds})")
        return [Utterance(path) for path in files]
    if source.suffix.lower() in AUDIO | _FOREIGN or _is_audio(source):
        return [Utterance(source)]
    return read_manifest(source, transcribed=False)


def audio_files(folder: Path) -> list[Path]:
    """The audio files below a folder; UserError for some that cannot be read."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    # macOS keeps a file ._NAME beside NAME on other systems' disks.
    files = [path for path in files if not path.name.startswith("._")]
    foreign = [path for path in files if path.suffix.lower() in _FOREIGN]
    if foreign:
        raise UserError(
            f"{foreign[0]}: {len(foreign)} files in a format that cannot be read; convert them to "
            f"WAV or FLAC first, such as by ffmpeg -i {foreign[0].name} {foreign[0].stem}.flac"
        )
    return [path for path in files if path.suffix.lower() in AUDIO]


def _is_audio(path: Path) -> bool:
    try:
        soundfile.info(str(path))
    except (soundfile.SoundFileError, OSError):
        return False
    return path.suffix.lower() not in (*TABLES, ".json", ".jsonl", ".txt")


def _libri_speech(folder: Path) -> Parts | None:
    found = []
    for file in sorted(folder.rglob("*.trans.txt")):
        for where, name, text in _keyed(file):
            audio = _beside(file.parent / name)
            if audio is None:
                raise UserError(f"{where}: no audio file {name} beside it")
            found.append(Utterance(audio, _spoken(where, text), name.partition("-")[0]))
    return {"train": found} if found else None


def _common_voice(folder: Path) -> Parts | None:
    clips = folder / "clips"
    if not clips.is_dir():
        return None
    if all((folder / name).is_file() for name in _COMMON_VOICE.values()):
        files = _COMMON_VOICE
    elif (folder / "validated.tsv").is_file():
        files = {"train": "validated.tsv"}
    else:
        raise UserError(
            f"{folder}: has clips, but neither train.tsv, dev.tsv and test.tsv nor validated.tsv"
        )
    # Paths are those of clips/, in the older releases without their suffix.
    return {
        part: [_clip(clips, utterance) for utterance in read_manifest(folder / name)]
        for part, name in files.items()
    }


def _clip(clips: Path, utterance: Utterance) -> Utterance:
    path = clips / utterance.path.name
    found = path if path.suffix else _beside(path) or path
    return Utterance(found, utterance.text, utterance.speaker, utterance.duration)


def _kaldi(folder: Path) -> Parts | None:
    if not (folder / "wav.scp").is_file() or not (folder / "text").is_file():
        return None
    recordings = {
        name: _recording(folder, where, place) for where, name, place in _keyed(folder / "wav.scp")
    }
    speakers = {name: who for _, name, who in _keyed_if_any(folder / "utt2spk")}
    segments = {name: (where, rest) for where, name, rest in _keyed_if_any(folder / "segments")}
    found = []
    for where, name, text in _keyed(folder / "text"):
        if segments and name not in segments:
            raise UserError(f"{where}: {name} is not in segments")
        place, begin, end = _segment(*segments[name]) if segments else (name, None, None)
        if place not in recordings:
            raise UserError(f"{where}: {place} is not in wav.scp")
        duration = None if begin is None or end is None else end - begin
        found.append(
            Utterance(
                recordings[place], _spoken(where, text), speakers.get(name, ""), duration, begin
            )
        )
    return {"train": found} if found else None


def _lj_speech(folder: Path) -> Parts | None:
    metadata = folder / "metadata.csv"
    if not metadata.is_file() or not (folder / "wavs").is_dir():
        return None
    lines = [line for line in read_text(metadata).split("\n") if line.strip()]
    if not all("|" in line for line in lines):
        return None
    found = []
    for number, line in enumerate(lines, start=1):
        name, *texts = line.split("|")
        where = f"{metadata}, line {number}"
        audio = _beside(folder / "wavs" / name)
        if audio is None:
            raise UserError(f"{where}: no audio file {name} in wavs")
        # The last text has numbers written out.
        found.append(Utterance(audio, _spoken(where, texts[-1])))
    return {"train": found}


def _manifest_inside(folder: Path, reading: Reading | None) -> Parts | None:
    manifest = next((folder / name for name in _MANIFESTS if (folder / name).is_file()), None)
    return None if manifest is None else {"train": read_manifest(manifest, reading)}


def _own_parts(folder: Path, reading: Reading | None) -> Parts | None:
    """The parts in folders of their names, each in a layout that is known."""
    parts: Parts = {}
    for part, names in _PARTS.items():
        inside = next((folder / name for name in names if (folder / name).is_dir()), None)
        layout = None if inside is None else _of_folder(inside, reading)
        if layout is not None:
            parts[part] = layout.utterances
    return parts if "train" in parts and len(parts) > 1 else None


def _recording(folder: Path, where: str, place: str) -> Path:
    """The file of a recording; the commands that wav.scp may hold are never run."""
    if place.endswith("|"):
        raise UserError(
            f"{where}: is a command, which is not run; write its output to a file and name that"
        )
    # Kaldi takes paths from where it is started, often some folders above.
    places = [find_file(above, place) for above in (folder, *folder.parents, Path())]
    return next((one for one in places if one.is_file()), places[0])


def _segment(where: str, fields: str) -> tuple[str, float | None, float | None]:
    parts = fields.split()
    if len(parts) < 3:
        raise UserError(f"{where}: must be UTTERANCE RECORDING BEGIN END")
    begin = as_seconds(where, "begin", parts[1])
    # An end of -1 is that of the recording.
    to_the_end = parts[2] in ("-1", "-1.0")
    end = None if to_the_end else as_seconds(where, "end", parts[2], positive=True)
    if begin is not None and end is not None and not begin < end:
        raise UserError(f"{where}: ends at {end:g} s, before it begins")
    return parts[0], begin, end


def _texts_beside(folder: Path) -> Parts | None:
    texts = {_key(text): text for text in sorted(folder.rglob("*")) if _is_text(text)}
    recordings = audio_files(folder)
    pairs = [(audio, texts.get(_key(audio))) for audio in recordings]
    if not any(text for _, text in pairs) and len({name for _, name in texts}) == len(texts):
        by_name = {name: text for (_, name), text in texts.items()}  # VCTK: txt beside wav48
        pairs = [(audio, by_name.get(_key(audio)[1])) for audio in recordings]
    spoken = [(audio, text, read_text(text)) for audio, text in pairs if text is not None]
    if spoken and all(_TIMIT.match(words) for _, _, words in spoken):
        spoken = [(audio, text, _TIMIT.sub("", words)) for audio, text, words in spoken]
    found = [Utterance(audio, _spoken(str(text), words)) for audio, text, words in spoken]
    return {"train": found} if found else None


def _is_text(path: Path) -> bool:
    return path.suffix.lower() == ".txt" and not path.name.startswith("._") and path.is_file()


def _key(path: Path) -> tuple[Path, str]:
    """What an audio file and its text share, however systems write the letters of a name."""
    stem = path.stem.removesuffix(".normalized")  # of LibriTTS
    return path.parent, unicodedata.normalize("NFC", stem).casefold()


def _spoken(where: str, text: str) -> str:
    """A normalised transcript; UserError for an empty one."""
    words = normalize(text)
    if not words:
        raise UserError(f"{where}: empty transcript")
    return words


def _folders(reading: Reading | None) -> dict[str, Callable[[Path], Parts | None]]:
    """The layouts that are known, by name; each finds its parts, or None."""
    return {
        "LibriSpeech (*.trans.txt)": _libri_speech,
        "Common Voice (clips, train.tsv)": _common_voice,
        "Kaldi (wav.scp, text)": _kaldi,
        "LJ Speech (metadata.csv, wavs)": _lj_speech,
        "a manifest (metadata.csv)": partial(_manifest_inside, reading=reading),
        "parts (train, dev, test)": partial(_own_parts, reading=reading),
        "audio with a .txt for each": _texts_beside,
    }


def _keyed(path: Path) -> Iterator[tuple[str, str, str]]:
    """The lines of a file as place, first word and rest."""
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if line.strip():
            name, *rest = line.split(None, 1)
            yield f"{path}, line {number}", name, rest[0].strip() if rest else ""


def _keyed_if_any(path: Path) -> Iterator[tuple[str, str, str]]:
    return _keyed(path) if path.is_file() else iter(())


def _beside(stem: Path) -> Path | None:
    """The audio file of a name without its suffix."""
    others = stem.parent.glob(f"{glob.escape(stem.name)}.*")
    found = [path for path in others if path.suffix.lower() in AUDIO]
    return min(found, default=None)
