"""The speech data sets: where they come from and whose they are."""

from __future__ import annotations

import platform

from data_scripts.manifest import Dataset, Source

GITHUB = "https://codeload.github.com"
FSDD_SPEAKERS = ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")
# SHA-256 of the files inside, as `speech_files.digest` computes it.
CONTENT = {
    "an4": "1dbf2a4cd9779980d766b0bfe87081035055468c6cb849a4bc96349abfa4c676",
    "fsdd": "baa3a6dcf4da47fb3075bec71a8cefb512022cb9ae030a79a31b315f37bc67af",
}
_ESPEAK_WHEELS = {
    ("Linux", "x86_64"): (
        "manylinux_2_17_x86_64.manylinux2014_x86_64",
        "08721baf27d13d461f6be6eed9a65277e70d68234ff484fd8b9897b222cdcb6d",
    ),
    ("Darwin", "arm64"): (
        "macosx_11_0_arm64",
        "d27cdca31112226e7299d8562e889d3e38a1e48055c9ee381b45d669072ee59f",
    ),
    ("Windows", "AMD64"): (
        "win_amd64",
        "41f1e08ac9deda2efd1ea9de0b81dab9f5ae3c4b24284f76533d0a7b1dd7abd7",
    ),
}


def _espeak_sources() -> tuple[Source, ...]:
    """The synthesiser's wheel for this machine; none where there is no wheel."""
    found = _ESPEAK_WHEELS.get((platform.system(), platform.machine()))
    if found is None:
        return ()
    tag, sha256 = found
    file = f"espeakng_loader-0.2.4-py3-none-{tag}.whl"
    return (Source(file, sha256, (f"speech/{file}",), package="espeakng-loader==0.2.4"),)


def _archive(name: str, repository: str, *revisions: str) -> tuple[Source, ...]:
    """An archive that GitHub packs anew each time: its content is checked, not its bytes."""
    urls = tuple(f"{GITHUB}/{repository}/tar.gz/{revision}" for revision in revisions)
    return (Source(f"{name}.tar.gz", None, (f"speech/{name}.tar.gz",), urls),)


_FSDD_SOURCES = _archive("fsdd", "Jakobovski/free-spoken-digit-dataset", "26eb9aaf76e8", "master")
DATASETS = {
    "digits": Dataset(
        name="digits",
        application="speech",
        sources=_espeak_sources(),
        licence="made here by eSpeak NG 1.52 (GPL-3.0, in espeakng-loader 0.2.4); no recordings",
        credit="eSpeak NG: Reece H. Dunn, Jonathan Duddington and contributors",
    ),
    "an4": Dataset(
        name="an4",
        application="speech",
        sources=_archive("an4", "cmusphinx/an4", "b567d132f43304e70a2b2eca6077f22255311812"),
        licence="BSD-like (LICENSE in the archive)",
        credit="Carnegie Mellon University, 1991: Alejandro Acero's alphanumeric database",
        recipe=2,  # 2: with its pronunciations
    ),
    **{
        f"fsdd_{speaker}": Dataset(
            name=f"fsdd_{speaker}",
            application="speech",
            sources=_FSDD_SOURCES,
            licence="CC BY-SA 4.0 (Free Spoken Digit Dataset)",
            credit="Zohar Jackson and contributors",
        )
        for speaker in FSDD_SPEAKERS
    },
}
