"""What the keys of every verb may hold: checked before any work begins.

Here stand the keys that are the same for all applications. Those of an object (`model.hidden_size`)
are checked against the annotations of the class that `_target_` names, when it is built.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from apps.cli.choices import known_choices
from apps.cli.values import Devices, Flag, Id, NotHere, Part, Place, Steps, in_range
from apps.errors import UserError

MAX_THREADS = 1024  # more end the process, with no error that could be caught
# Where a number may be nan or inf: gradients that go wrong, and thresholds without limit.
_ANY_NUMBER = ("callbacks", "clipping")


class Section(BaseModel):
    """A mapping of the configuration; keys that are not named here are somebody else's to check."""

    model_config = ConfigDict(strict=True, extra="allow")


class Described(Section):
    """What an object is built from."""

    target: str = Field(alias="_target_")
    partial: Literal[False] = Field(False, alias="_partial_")


class Optimizer(Section):
    """An optimizer, which gets its parameters later."""

    target: str = Field(alias="_target_")
    partial: Literal[True] = Field(alias="_partial_")
    lr: float


class Trainer(Section):
    """Lightning's Trainer, which gets its callbacks later."""

    target: str = Field(alias="_target_")
    partial: Literal[True] = Field(alias="_partial_")
    accelerator: str = "auto"
    devices: Devices = "auto"
    num_nodes: Annotated[int, in_range(1)] = 1
    precision: Literal["32-true", "64-true", "bf16-mixed", "16-mixed", 16, 32, 64] = "32-true"
    max_epochs: Annotated[int, in_range(1)]
    max_steps: Steps = -1
    accumulate_grad_batches: Annotated[int, in_range(1)] = 1
    num_sanity_val_steps: Annotated[int, in_range(-1)] = -1
    check_val_every_n_epoch: Annotated[int, in_range(1)] = 1
    log_every_n_steps: Annotated[int, in_range(1)] = 1
    limit_train_batches: Part = 1.0
    limit_val_batches: Part = 1.0
    val_check_interval: Part = 1.0
    fast_dev_run: Literal[False] = False
    barebones: Literal[False] = False
    callbacks: NotHere = None
    logger: NotHere = None
    enable_checkpointing: NotHere = None
    default_root_dir: NotHere = None
    use_distributed_sampler: NotHere = None
    plugins: NotHere = None


class App(Described):
    """An application, by its name."""

    name: str


class Training(BaseModel):
    """How long is trained, from which run's weights, and which are kept: the best or the last.

    The best are those with the lowest validation loss.
    """

    model_config = ConfigDict(strict=True, extra="forbid")

    epochs: Annotated[int, in_range(1)]
    min_steps: Annotated[int, in_range(0)] = 0
    keep: Literal["best", "last"] = "best"
    start_from: Place = None


class DataSettings(Section):
    """What `gradclip-data` takes."""

    app: App
    data: Described


class FirstSteps(DataSettings):
    """What a training needs beside its strategy and its logger."""

    model: Described
    optimizer: Optimizer
    optimization: Described
    training: Training
    trainer: Trainer
    callbacks: dict[str, Described]
    seed: Annotated[int, in_range(0, 2**32 - 1)]
    num_threads: Annotated[int, in_range(1), Field(le=MAX_THREADS)]
    checkpoint_minutes: Annotated[float, Field(gt=0)] | None = None
    output_dir: Place = None


class RunSettings(FirstSteps):
    """What a training takes."""

    clipping: Described
    logger: Described | Annotated[dict[str, Any], Field(max_length=0)]
    run_dir: Place = None
    resume: Place = None


class EvaluateSettings(Section):
    """What `gradclip-evaluate` takes."""

    run: Place
    app: str | None
    test_split: str
    baselines: Flag
    decoder: Described | None = None


class PredictSettings(Section):
    """What `gradclip-predict` takes."""

    run: Place
    input: Place = None
    output: Place = None
    app: str | None
    overwrite: Flag
    raw: Flag
    ego: Id = None
    units: Literal["metres", "feet"] | None = None
    frame_rate: Annotated[float, Field(gt=0)] | None = None
    decoder: Described | None = None


class Sweep(BaseModel):
    """The runs of a sweep beside those of the command line."""

    model_config = ConfigDict(strict=True, extra="forbid")

    overrides: list[str]
    seeds: Any


class CompareSettings(RunSettings):
    """What `gradclip-compare` takes."""

    launcher: Described
    sweep: Sweep | None = None


def check(config: DictConfig, model: type[BaseModel]) -> None:
    """UserError in one line unless a configuration holds what a verb takes.

    Checks the types and ranges of the keys that all applications share, and that every number is
    finite.
    """
    plain = resolved(config)
    _check_numbers(plain)
    try:
        model.model_validate(plain)
    except ValidationError as error:
        raise UserError(_line(error, plain)) from error
    data = plain.get("data")
    if isinstance(data, Mapping) and isinstance(data.get("path"), str):
        refuse_device("data.path", Path(data["path"]))


def refuse_device(key: str, path: Path) -> None:
    """UserError for a device or a pipe, which may have no end, or hold nothing."""
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise UserError(f"{key}={path}: is a device or a pipe, not a file")


def resolved(config: DictConfig) -> dict[str, Any]:
    """A configuration as plain values; UserError where a value is missing or refers to nothing."""
    try:
        plain: Any = OmegaConf.to_container(config, resolve=True)
    except (OmegaConfBaseException, RecursionError) as error:
        key = getattr(error, "full_key", None) or "configuration"
        first = (str(error).splitlines() or ["refers to itself"])[0]
        raise UserError(f"{key}: {first}") from error
    assert isinstance(plain, dict)
    return plain


def _check_numbers(plain: Mapping[str, Any]) -> None:
    for key, value in _values(plain):
        limited = key.partition(".")[0] not in _ANY_NUMBER
        if limited and isinstance(value, float) and not math.isfinite(value):
            raise UserError(f"{key}={value}: must be a finite number")
        if isinstance(value, int) and not -(2**63) <= value < 2**63:
            raise UserError(f"{key}: must be a number of at most 64 bits")


def _values(node: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(node, Mapping):
        for name, value in node.items():
            yield from _values(value, f"{key}.{name}" if key else str(name))
    elif isinstance(node, list):
        for number, value in enumerate(node):
            yield from _values(value, f"{key}.{number}")
    else:
        yield key, node


def _line(error: ValidationError, plain: Mapping[str, Any]) -> str:
    """The first mistake in one line."""
    first = error.errors()[0]
    key = _key(first["loc"], plain)
    if first["type"] == "missing":
        app = plain.get("app")
        name = app.get("name") if isinstance(app, Mapping) else None
        known = known_choices(key, [name] if isinstance(name, str) else [])
        return f"{key}: is missing" + (f"; choose one of {', '.join(known)}" if known else "")
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "model_type" or first["type"] == "dict_type":
        message = "describes no object: it has no _target_"
    given = first["input"]
    return f"{key}={given if first['type'] == 'value_error' else repr(given)}: {message}"


def _key(location: tuple[int | str, ...], plain: Mapping[str, Any]) -> str:
    """The key of a mistake, without the types of several that pydantic has tried."""
    node: Any = plain
    parts = []
    for part in location:
        inside = isinstance(node, Mapping) and part in node
        if not inside and not (isinstance(part, str) and part.islower()):
            continue
        parts.append(str(part))
        node = node[part] if inside else None
    return ".".join(parts)
