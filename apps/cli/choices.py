"""The choices of the configuration groups: which there are, and what is none of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from apps import CONF
from apps.errors import UserError


def check_choices(arguments: Iterable[str], rooms: Sequence[str], *, several: bool) -> None:
    """UserError for a group that is set to what can be no choice: null, a number, a mapping.

    Hydra would end in a traceback. rooms: the applications whose own choices count. several: a
    list of choices is one, too, as in a comparison; Hydra would mix their settings.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.core.override_parser.types import QuotedString
    from hydra.errors import HydraException

    parser = OverridesParser.create()
    for argument in arguments:
        try:
            override = parser.parse_override(argument)
        except HydraException:
            continue  # Hydra itself says what is wrong with it
        group = override.key_or_group
        plain = override.is_delete() or override.is_sweep_override()
        if plain or not known_choices(group, rooms):
            continue
        value = override.value()
        choices = value if several and isinstance(value, list) else [value]
        if not all(isinstance(choice, (str, QuotedString)) for choice in choices):
            raise UserError(unknown_choice(group, argument.partition("=")[2], rooms))


def known_choices(group: str, rooms: Iterable[str]) -> list[str]:
    """The names of a group's choices; none where there is no such group."""
    folders = [CONF / group, *(CONF / app / group for app in rooms)]
    return sorted({path.stem for folder in folders if group for path in folder.glob("*.yaml")})


def unknown_choice(group: str, choice: str, rooms: Iterable[str]) -> str:
    """One line for a choice that does not exist, with those that do."""
    known = known_choices(group, rooms)
    if not known:
        return f"no such configuration: {group}/{choice}".replace(": /", ": ")
    return f"{group}={choice}: unknown; known: {', '.join(known)}"
