"""What an experiment asks of a comparison."""

from __future__ import annotations

from collections.abc import Sequence

from apps import CONF


def with_experiment(arguments: Sequence[str]) -> list[str]:
    """A command line with the strategies and swept keys of the experiment that it names.

    They stand in the experiment's file under `compare`; what the command line sets itself counts.
    """
    given = {key: value for key, _, value in (argument.partition("=") for argument in arguments)}
    app = given.get("app", "*")
    files = list(CONF.glob(f"{app}/experiment/{given.get('experiment')}.yaml"))
    if len(files) != 1:
        return list(arguments)
    from omegaconf import OmegaConf

    asked = [str(item) for item in OmegaConf.select(OmegaConf.load(files[0]), "compare") or []]
    return [*arguments, *(item for item in asked if item.partition("=")[0] not in given)]
