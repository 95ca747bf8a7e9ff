"""Hydra's options, wherever on the command line they stand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from apps.errors import UserError

_FLAGS = ("-h", "--help", "--resolve", "-m", "--multirun", "--version")
# Options with a value, by what it may be; None: anything.
_VALUES: dict[str, tuple[str, ...] | None] = {
    "-c": ("job", "hydra", "all"),
    "--cfg": ("job", "hydra", "all"),
    "-p": None,
    "--package": None,
    "-i": ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath"),
    "--info": ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath"),
}
_OPTIONAL = ("-i", "--info")


def options_first(arguments: Sequence[str]) -> list[str]:
    """A command line with its options before its settings, which is how Hydra reads them.

    UserError for an option that is none of ours and Hydra's, or has another value than it may.
    """
    options: list[str] = []
    settings: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        if not argument.startswith("-"):
            _check_setting(argument)
            settings.append(argument)
        elif argument in _FLAGS:
            options.append(argument)
        else:
            options.append(_with_value(argument, rest, settings))
    return [*options, *settings]


def _check_setting(argument: str) -> None:
    """UserError for what is no setting, or one that gradclip makes itself."""
    key = argument.partition("=")[0].lstrip("+~")
    if not key:
        raise UserError(f"{argument}: cannot be read as KEY=VALUE")
    if key == "hydra.searchpath":
        raise UserError(
            f"{argument}: hydra.searchpath is set to the choices of the application; put a file "
            "of your own into conf/GROUP and choose it by GROUP=NAME"
        )


def _with_value(argument: str, rest: Iterator[str], settings: list[str]) -> str:
    """An option and its value as one word."""
    name, equals, value = argument.partition("=")
    if name not in _VALUES:
        raise UserError(f"{argument}: no such option; settings are KEY=VALUE, see --help")
    if not equals:
        value = next(rest, "")
        if name in _OPTIONAL and value not in (_VALUES[name] or ()):
            if value:
                settings.append(value)
            value = "all"
    allowed = _VALUES[name]
    if not value or (allowed is not None and value not in allowed):
        known = ", ".join(allowed or ("a package",))
        raise UserError(f"{name} {value}: allowed: {known}".replace(" :", ":"))
    return f"{name}={value}" if name.startswith("--") else f"{name}{value}"
