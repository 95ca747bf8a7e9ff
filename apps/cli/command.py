"""What every console script shares: composing the configuration, help, and errors in one line."""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import signal
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, NoReturn

from apps import CONF
from apps.cli.choices import check_choices, unknown_choice
from apps.cli.help import VERBS_ON_RUNS, all_apps, help_text
from apps.cli.options import options_first
from apps.cli.signals import ending_by_signal
from apps.errors import Terminated, UserError

if TYPE_CHECKING:
    from omegaconf import DictConfig

DEFAULT_APP = "energy"
# A disk that is full, over its quota, or broken: no mistake in the command.
_OF_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


def command(
    verb: str,
    run: Callable[[DictConfig], None],
    prepare: Callable[[list[str]], list[str]] = list,
) -> None:
    """Run a console script: compose `conf/<verb>.yaml` with the command line, then call `run`.

    prepare: turns the arguments into those that Hydra is to compose.

    A mistake of the user's ends in one line on stderr and exit code 2, before anything is
    written; a disk that is full or fails in one line and exit code 1; an interrupt with exit
    code 130, and a signal to end with 128 and its number, as a shell has it.
    """
    with warnings.catch_warnings(), ending_by_signal():
        # Not "once": Python forgets what it has shown whenever somebody adds a filter.
        warnings.filterwarnings("always", module=r"gradclip_core\.")
        warnings.showwarning = functools.partial(_show, verb, set())
        _command(verb, run, prepare)


def _command(
    verb: str,
    run: Callable[[DictConfig], None],
    prepare: Callable[[list[str]], list[str]],
) -> None:
    try:
        _compose_and_run(verb, run, prepare)
        sys.stdout.flush()
    except KeyboardInterrupt:
        _end(verb, "interrupted", 130)
    except Terminated as end:
        _end(verb, f"ended by {signal.Signals(end.signal).name}", 128 + end.signal)
    except UserError as error:
        _end(verb, str(error), 2)
    except ModuleNotFoundError as error:
        _end(verb, _not_installed(error), 2)
    except BrokenPipeError:
        _end(verb, "nobody reads what it prints", 1)
    except OSError as error:
        _end(verb, _of_system(error), 1 if error.errno in _OF_DISK else 2)


def _compose_and_run(
    verb: str,
    run: Callable[[DictConfig], None],
    prepare: Callable[[list[str]], list[str]],
) -> None:
    try:
        os.getcwd()
    except FileNotFoundError:
        raise UserError("the current folder is gone; go to another") from None
    arguments = sys.argv[1:] = options_first(prepare(sys.argv[1:]))
    app = named_app(arguments)
    if app != DEFAULT_APP and not _values("app", arguments):
        sys.argv.append(f"app={app}")
    if {"-h", "--help"} & set(arguments):
        print(help_text(verb, app, arguments))
        return
    _run(verb, app, run)


def _not_installed(error: ModuleNotFoundError) -> str:
    """One line for a package of the applications that is not there."""
    package = str(error.name).partition(".")[0]
    if package in ("apps", "data_scripts", "gradclip_core", "None"):
        raise error
    return (
        f"needs the package {package}, which is not installed; in the folder of the clone: "
        "pip install --constraint constraints.txt --editable . --editable ./apps"
    )


def _show(verb: str, shown: set[str], message: Warning | str, *_: Any, **__: Any) -> None:
    """Show a warning as one line, the same one once."""
    line = f"gradclip-{verb}: warning: {' '.join(str(message).split())}"
    if line not in shown:
        print(line, file=sys.stderr)
    shown.add(line)


def _run(verb: str, app: str, run: Callable[[DictConfig], None]) -> None:
    os.environ["HYDRA_FULL_ERROR"] = "1"  # raise errors instead of printing them in several lines
    import hydra
    from hydra.errors import HydraException, MissingConfigException, OverrideParseException
    from omegaconf.errors import OmegaConfBaseException

    mistakes: list[Exception] = []
    typed = list(sys.argv)
    named, texts = _kept_from_hydra(verb)

    def job(config: DictConfig) -> None:
        if mistakes:  # of an earlier run of a multirun, which ends with it
            return
        sys.argv[:] = typed  # which Lightning gives to the processes that it starts
        # Hydra writes a line of its own about an exception that leaves the job.
        try:
            if named:
                config.app = app
            if texts:
                config.text = texts[-1].replace("${", "\\${")
            run(config)
        except (
            UserError,
            ModuleNotFoundError,
            HydraException,
            OmegaConfBaseException,
            OSError,
        ) as error:
            mistakes.append(error)

    settings = [item for item in sys.argv[1:] if not item.startswith("-")]
    check_choices(settings, _rooms(verb, app), several=verb == "compare")
    sys.argv.append(search_path(*_rooms(verb, app)))
    try:
        with _place_of_sweeps():
            hydra.main(version_base="1.3", config_path=str(CONF), config_name=verb)(job)()
        if mistakes:
            raise mistakes[0]
    except MissingConfigException as error:
        group, _, choice = (error.missing_cfg_file or "").rpartition("/")
        raise UserError(unknown_choice(group, choice, _rooms(verb, app))) from error
    except OverrideParseException as error:
        raise UserError(
            f"{error.override}: cannot be read as KEY=VALUE; quote a text that holds = , [ or {{"
        ) from error
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(_one_line(error)) from error


@contextlib.contextmanager
def _place_of_sweeps() -> Iterator[None]:
    """Give a multirun a folder for what Hydra writes, whatever becomes of it, and delete it."""
    if not {"-m", "--multirun"} & set(sys.argv):
        yield
        return
    with tempfile.TemporaryDirectory() as folder:
        sys.argv.append(f"hydra.sweep.dir='{_escaped(folder)}'")
        yield


def _kept_from_hydra(verb: str) -> tuple[bool, list[str]]:
    """Take from the command line what Hydra cannot read: whether there was `app=`, and texts."""
    # Hydra would take app= for a choice of the group `conf/app`, which these verbs have not.
    named = verb in VERBS_ON_RUNS and any(item.startswith("app=") for item in sys.argv)
    # Nor can it read a sentence, which is full of what is grammar to it.
    texts = [item[5:] for item in sys.argv if verb == "predict" and item.startswith("text=")]
    kept = ("app=",) * named + ("text=",) * bool(texts)
    sys.argv = [item for item in sys.argv if not item.startswith(kept)]
    return named, texts


def search_path(*apps: str) -> str:
    """The override that makes Hydra find the configuration groups of applications."""
    places = ",".join(f"'file://{_escaped(str(CONF / app))}'" for app in apps)
    return f"hydra.searchpath=[{places}]"


def quoted(path: str) -> str:
    """A path as the value of an override."""
    return f"'{_escaped(path)}'"


def _escaped(path: str) -> str:
    """A path as it may stand between the quotes of an override."""
    return path.replace("\\", "\\\\").replace("'", "\\'")


def named_app(arguments: list[str]) -> str:
    """The application named on the command line; UserError if there is none of that name.

    An experiment that one application alone has names it as well.
    """
    names = _values("app", arguments)
    if not names:
        for experiment in _values("experiment", arguments):
            names = [file.parts[-3] for file in CONF.glob(f"*/experiment/{experiment}.yaml")]
    app = names[-1] if names else DEFAULT_APP
    if app not in all_apps():
        raise UserError(unknown_app(app))
    return app


def unknown_app(app: str) -> str:
    """One line for an application that there is not, with those that there are."""
    return f"app={app}: unknown application; known: {', '.join(all_apps())}"


def _values(key: str, arguments: list[str]) -> list[str]:
    """What a key is set to on the command line, each time it is."""
    return [value for name, _, value in (a.partition("=") for a in arguments) if name == key]


def _rooms(verb: str, app: str) -> list[str]:
    """The applications whose choices a verb takes: of a run's it is not known before it is read."""
    return all_apps() if verb in VERBS_ON_RUNS else [app]


def _one_line(error: Exception) -> str:
    """Hydra's and OmegaConf's messages span lines; keep what names the key and the cause."""
    cause = error.__cause__
    message = str(error)
    if cause is not None and "is not in struct" in str(cause):
        key = message.split("'")[1] if "'" in message else message
        parent = getattr(cause, "parent_node", None)
        siblings = [str(name) for name in parent or () if name != "hydra"]
        if (present := _present_key(parent, key.rpartition(".")[2])) is not None:
            return f"{key}: no such key here; it is called {present} now"
        close = get_close_matches(key.rpartition(".")[2], siblings, n=3)
        hint = f"did you mean {' or '.join(close)}?" if close else f"known: {', '.join(siblings)}"
        return f"{key}: no such key here; {hint}"
    if message.startswith("Could not override '"):
        return f"{message.split(chr(39))[1]}: no such choice here; see --help"
    full_key = getattr(error, "full_key", None)
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    kept = [line for line in lines if not line.startswith(("full_key:", "object_type", "See "))]
    prefix = f"{full_key}: " if full_key and str(full_key) not in kept[0] else ""
    return prefix + " ".join(kept[:2])


def _present_key(parent: Any, key: str) -> str | None:
    """What a key of a node is called now, if it had another name before."""
    from apps.cli.former_keys import present_key

    present = present_key(parent.get("_target_"), key) if hasattr(parent, "get") else key
    return None if present == key else str(present)


def _of_system(error: OSError) -> str:
    """What the operating system refused, and for which file."""
    reason = error.strerror or str(error) or type(error).__name__
    name = error.filename2 or error.filename
    return f"{name}: {reason}" if name is not None else reason


def _end(verb: str, message: str, code: int) -> NoReturn:
    """Say in one line why the process ends, and end it."""
    with contextlib.suppress(OSError):
        print(f"gradclip-{verb}: {' '.join(message.split())}", file=sys.stderr, flush=True)
    try:
        sys.stdout.flush()
    except OSError:  # the interpreter would try again when it ends, and complain
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    raise SystemExit(code)
