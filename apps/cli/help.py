"""`--help` of the console scripts, read from the configuration files' own comments."""

from __future__ import annotations

import re
from pathlib import Path

from apps import CONF

# Verbs that take a run, with the groups that they choose anew.
VERBS_ON_RUNS = {"evaluate": ("decoder",), "predict": ("decoder",)}
_KEY = re.compile(r"^([a-z_]+): *(.*?) *(?<=\s)# (.*)$")  # as YAML has it: after a blank


def help_text(verb: str, app: str, arguments: list[str]) -> str:
    """What a newcomer needs: purpose, examples, choices of each group, keys with defaults.

    With `GROUP=CHOICE` on the command line that choice's own file, keys and comments, follows.
    """
    file = CONF / f"{verb}.yaml"
    lines = [*_head(file), "", f"usage: gradclip-{verb} [GROUP=CHOICE ...] [KEY=VALUE ...]", ""]
    groups = _groups(verb, app)
    if groups:
        lines += ["choices:"]
        for group, choices in groups.items():
            width = max(len(path.stem) for path in choices)
            for i, path in enumerate(choices):
                name = f"{group}=" if i == 0 else ""
                lines += [f"  {name:<12}{path.stem:<{width}}  {_head(path)[0]}"]
        lines += [""]
    keys = [match for line in file.read_text().splitlines() if (match := _KEY.match(line))]
    lines += ["keys (with defaults):"]
    lines += [f"  {f'{key}={value}':<24}{doc}" for key, value, doc in (m.groups() for m in keys)]
    lines += ["", f"gradclip-{verb} --help GROUP=CHOICE shows the keys of a choice."]
    for argument in arguments:
        group, _, choice = argument.partition("=")
        lines += [
            f"\n# {group}={choice}\n{_spelled_out(path)}"
            for path in groups.get(group, [])
            if path.stem == choice
        ]
    return "\n".join(lines)


def _head(file: Path) -> list[str]:
    """The comment that opens a configuration file, without directives to Hydra."""
    head = []
    for line in file.read_text().splitlines():
        if not line.startswith("#"):
            break
        text = line.removeprefix("#").removeprefix(" ")
        if not text.startswith("@package"):
            head.append(text)
    return head or [""]


def _spelled_out(file: Path) -> str:
    """A configuration file with the keys that it has from the files it builds upon."""
    lines = file.read_text().splitlines()
    bases = [name for line in lines for name in re.findall(r"([\w/]+)@_here_", line)]
    lines = [line for line in lines if not (bases and line.startswith("defaults:"))]
    own = {match[1] for line in lines if (match := _KEY.match(line))}
    for base in bases:
        text = _spelled_out(file.parent / f"{base}.yaml")
        keys = [match for line in text.splitlines() if (match := _KEY.match(line))]
        lines += [match[0] for match in keys if match[1] not in own]
    return "\n".join(lines)


def all_apps() -> list[str]:
    """The names of the applications."""
    return sorted(path.stem for path in (CONF / "app").glob("*.yaml"))


def _groups(verb: str, app: str) -> dict[str, list[Path]]:
    """The configuration groups that a verb takes, with their choices."""
    found: dict[str, list[Path]] = {}
    rooms = all_apps() if verb in VERBS_ON_RUNS else [app]
    for root in (CONF, *(CONF / name for name in rooms)):
        for folder in sorted(path for path in root.iterdir() if path.is_dir()):
            files = sorted(folder.glob("*.yaml"))
            if files and _takes(verb, folder.name):
                found.setdefault(folder.name, []).extend(files)
    return found


def _takes(verb: str, group: str) -> bool:
    if verb == "data":
        return group in ("app", "data")
    if verb in VERBS_ON_RUNS:
        return group in VERBS_ON_RUNS[verb]
    left_out = {
        "train": {"launcher", "sweep"},
        "advise": {"clipping", "launcher", "logger", "sweep"},
    }
    return group not in left_out.get(verb, set())
