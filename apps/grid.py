"""The runs of a comparison: which there are, and running them side by side."""

from __future__ import annotations

import multiprocessing
import os
import re
import shlex
import shutil
import threading
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from apps.compose import compose_run, parse
from apps.errors import UserError
from apps.report.results import UNCLIPPED, Run, Sweep
from apps.run_folder import RunFolder, code_fingerprint

# Keys that the comparison itself answers to; settings of a strategy (clipping.x) go to the runs.
_OWN_KEY = re.compile(r"(clipping|seed|seeds|output_dir|jobs|run_dir|resume)$|sweep(\.|$)")


@dataclass(frozen=True, slots=True)
class Planned:
    """One run to be made: its configuration, its folder, and the command that repeats it.

    `value` is that of a sweep. `settings`: the overrides of the strategy that it took.
    """

    config: DictConfig
    path: Path
    command: str
    value: float | None = None
    settings: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """What distinguishes the run, for a line of progress."""
        swept = "" if self.value is None else f"  {self.value:g}"
        return f"{self.config.choices.clipping:<20} seed {self.config.seed}{swept}"


def strategies(overrides: list[str], default: str | None) -> list[str]:
    """The strategies that `clipping=[...]` names, the unclipped baseline always among them."""
    names = [default] if default else []
    for override in parse(overrides):
        if override.key_or_group == "clipping":
            value = override.value()
            names = [str(name) for name in value] if isinstance(value, list) else [str(value)]
    return list(dict.fromkeys([UNCLIPPED, *names]))


def seeds(value: int | list[int]) -> list[int]:
    """`seeds=3` means 0, 1, 2; a list is taken as it is. UserError for anything else."""
    found = list(range(value)) if type(value) is int else value
    if (
        not isinstance(found, Sequence)
        or not found
        or not all(type(seed) is int and 0 <= seed < 2**32 for seed in found)
        or len(set(found)) < len(found)
    ):
        raise UserError(f"seeds={value}: must be a number >= 1 or a list of different numbers >= 0")
    return list(found)


def plan(config: DictConfig, overrides: list[str], root: Path) -> list[Planned]:
    """The runs of the comparison: every strategy with every seed."""
    shared = _shared(overrides)
    return [
        _planned(config.app.name, name, seed, shared, root / "runs" / f"{name}-seed{seed}")
        for seed in seeds(config.seeds)
        for name in strategies(overrides, config.choices.get("clipping"))
    ]


def plan_sweep(config: DictConfig, overrides: list[str], root: Path) -> list[Planned]:
    """The runs of the sweep, if `sweep=` names one: every strategy, seed and value."""
    sweep = config.get("sweep")
    if sweep is None:
        return []
    values = list(sweep["values"])
    names = {f"{value:g}" for value in values if type(value) in (int, float)}
    if not values or len(names) < len(values):
        raise UserError(f"sweep.values={values}: must be different numbers, at least one")
    app, shared = config.app.name, [*_shared(overrides), *sweep.overrides]
    return [
        _planned(app, name, seed, [*shared, f"{sweep.axis}={value}"], root / where, value)
        for seed in seeds(sweep.seeds)
        for value in values
        for name in strategies(overrides, config.choices.get("clipping"))
        for where in [f"sweep/{name}-seed{seed}-{value:g}"]
    ]


def _shared(overrides: list[str]) -> list[str]:
    """The overrides that every run takes."""
    return [
        str(override.input_line)
        for override in parse(overrides)
        if _OWN_KEY.match(override.key_or_group) is None
    ]


def _planned(
    app: str,
    strategy: str,
    seed: int,
    shared: list[str],
    path: Path,
    value: float | None = None,
) -> Planned:
    own = [override for override in shared if not override.startswith("clipping.")]
    own += [f"clipping={strategy}", f"seed={seed}"]
    config = compose_run(app, own)
    taken = [o for o in shared if o.startswith("clipping.") and _takes(config, o)]
    if taken:
        config = compose_run(app, own + taken)
    command = " ".join(["gradclip-train", *map(shlex.quote, own + taken)])
    return Planned(config, path, command, value, tuple(taken))


def _takes(config: DictConfig, override: str) -> bool:
    """Whether a strategy has the setting; a threshold with settings of its own is none."""
    parent, _, name = override.partition("=")[0].rpartition(".")
    node = OmegaConf.select(config, parent)
    return isinstance(node, DictConfig) and name in node and not OmegaConf.is_dict(node[name])


def check(planned: list[Planned], overrides: list[str], description: Mapping[str, Any]) -> None:
    """Refuse, before anything is written, a comparison that cannot work on data so described.

    Raises UserError for values that a clipper, an optimizer or the data refuses, for a setting
    that no strategy has, and for folders that hold other runs.
    """
    from apps.configuration import instantiate
    from apps.fit import make_clipper, make_task
    from apps.trainer import refuse_processes

    for override in (o for o in _shared(overrides) if o.startswith("clipping.")):
        if not any(override in run.settings for run in planned):
            names = ", ".join(dict.fromkeys(run.config.choices.clipping for run in planned))
            raise UserError(f"{override}: no such setting in any of the strategies {names}")
    for run in planned:
        instantiate(run.config, "data")
        task = make_task(instantiate(run.config, "app"), run.config, description)
        make_clipper(run.config, task)
        refuse_processes(run.config, "gradclip-compare trains")
        folder = RunFolder(run.path)
        if folder.holds_something and folder.config() != OmegaConf.create(
            OmegaConf.to_container(run.config, resolve=True)
        ):
            raise UserError(
                f"output_dir: {run.path} holds a run with another configuration; choose another "
                "output_dir"
            )


def run_all(planned: list[Planned], jobs: int) -> Iterator[tuple[Planned, dict[str, Any]]]:
    """Make the runs in `jobs` processes; yield each with its metrics as it ends.

    A run that ended before with the same configuration and code is not repeated; one that was
    interrupted continues. A run that fails does not stop the others.
    """
    lost = yield from _run_pool(planned, jobs)
    # A process that dies takes its pool with it: the rest go on one by one, to find the culprit.
    for run in lost:
        if (yield from _run_pool([run], 1)):
            yield run, _failed("the process was killed (out of memory?)")


def _run_pool(
    planned: list[Planned], jobs: int
) -> Generator[tuple[Planned, dict[str, Any]], None, list[Planned]]:
    """Make runs side by side, yield what came of them, return those lost with their pool."""
    context = multiprocessing.get_context("spawn")
    lost = []
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=end_with_parent) as pool:
        futures: dict[Future[dict[str, Any]], Planned] = {}
        for run in planned:
            plain: Any = OmegaConf.to_container(run.config, resolve=True)
            futures[pool.submit(_make, plain, str(run.path))] = run
        try:
            for future in as_completed(futures):
                if isinstance(future.exception(), BrokenProcessPool):
                    lost.append(futures[future])
                else:
                    yield futures[future], future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return lost


def end_with_parent() -> None:
    """End this worker process when the one that started it is gone, however it went."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _make(plain: dict[str, Any], path: str) -> dict[str, Any]:
    """In a worker process: make one run, continue it, or read what it left."""
    from apps.fit import train

    config, folder = OmegaConf.create(plain), RunFolder(Path(path))
    try:
        metrics = folder.metrics()
        if metrics is not None and metrics["code"] == code_fingerprint():
            return metrics
        resume = folder.last.is_file() and metrics is None
        if folder.path.exists() and not resume:
            shutil.rmtree(folder.path)  # `check` has found it to be this very run
        return train(config, folder.path, resume=resume, quiet=True)
    except UserError as error:
        return _failed(str(error))
    except SystemExit:  # Lightning's answer to SIGTERM; a pool would go on with the next run
        os._exit(1)
    except Exception as error:  # one run's failure is a result of the comparison
        return _failed(f"{type(error).__name__}: {error}")


def _failed(error: str) -> dict[str, Any]:
    return {"status": "failed", "error": error}


def as_run(planned: Planned, metrics: dict[str, Any], root: Path) -> Run:
    """The report's record of a run."""
    return Run(
        clipping=planned.config.choices.clipping,
        seed=planned.config.seed,
        optimizer=planned.config.choices.optimizer,
        lr=planned.config.optimizer.lr,
        status=metrics["status"],
        test=metrics.get("test", {}),
        diverged_at=metrics.get("diverged_at"),
        error=metrics.get("error"),
        seconds=metrics.get("seconds", 0.0),
        steps=metrics.get("steps", 0),
        clip_rate=metrics.get("clip_rate"),
        skipped=metrics.get("skipped", 0),
        run_dir=str(planned.path.relative_to(root)),
        command=planned.command,
        value=planned.value,
        val_loss=metrics.get("val_loss"),
    )


def as_sweep(config: DictConfig, runs: list[Run]) -> Sweep | None:
    """The report's record of a sweep; None without one."""
    if not runs:
        return None
    return Sweep(config.sweep.axis, list(config.sweep.overrides), runs)
