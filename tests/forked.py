"""Console scripts in processes of their own that need no second to start: forked from a warm one.

`Warm` starts an interpreter that has imported everything, and forks for every command. There the
verb's real `main` runs as in a process of its own: with its arguments, folder, output, exit code
and, if asked for, a function that is called first.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from tests.conftest import Ended

ROOT = Path(__file__).parents[1]
VERBS = ("data", "train", "evaluate", "compare", "predict", "advise")


class Warm:
    """A warm interpreter; use as a context."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        self._environment = dict(environment or {})

    def __enter__(self) -> Self:
        ours = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        environment = {**os.environ, **ours, **self._environment}
        self._process = subprocess.Popen(
            [sys.executable, "-c", "from tests.forked import serve; serve()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def run(
        self,
        verb: str,
        arguments: Sequence[object],
        folder: Path,
        *,
        first: str | None = None,
        environment: Mapping[str, str] | None = None,
        limit: float = 300,
    ) -> Ended:
        """Call a verb in a folder; the code is negative for a process that a signal has ended.

        first: `module:function value`, called before. limit: seconds until it is killed.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with tempfile.TemporaryDirectory() as name:
            request = {
                "verb": verb,
                "arguments": [str(argument) for argument in arguments],
                "folder": str(folder),
                "first": first,
                "environment": dict(environment or {}),
                "limit": limit,
                "output": name,
            }
            print(json.dumps(request), file=self._process.stdin, flush=True)
            code = int(self._process.stdout.readline())
            out, err = (Path(name, kind).read_text(errors="replace") for kind in ("out", "err"))
            return Ended(code, out, err)


def serve() -> None:
    """Fork for each request on stdin, and answer with the exit code."""
    import lightning.pytorch
    import torch

    torch.set_num_threads(1)  # a process with threads must not fork
    assert lightning.pytorch
    for verb in VERBS:
        importlib.import_module(f"apps.{verb}")
    for name in ("run.folds", "grid.comparison", "report.page.front", "replications"):
        importlib.import_module(f"apps.{name}")
    for app in ("driving", "energy", "finance", "language", "sentiment", "speech"):
        importlib.import_module(f"apps.{app}.application")
    _compose_once()
    answers = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if child == 0:
            _become(request)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), file=answers, flush=True)


def _compose_once() -> None:
    """Let Hydra look for its plugins and read its grammar here, and not in each child."""
    from hydra import initialize_config_dir

    from apps import CONF
    from apps.cli.compose import compose_run

    with initialize_config_dir(str(CONF), version_base="1.3"):
        compose_run("energy", ["+key={a:1}"])


def _become(request: dict[str, Any]) -> None:
    """Turn this process into that of a console script, to its end."""
    import signal

    signal.alarm(int(request["limit"]))
    # Whoever runs the tests may have them ignored: nohup the one, a shell's `&` the other.
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.setpgrp()
    for number, kind in ((1, "out"), (2, "err")):
        handle = os.open(Path(request["output"], kind), os.O_WRONLY | os.O_CREAT)
        os.dup2(handle, number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.environ.update(request["environment"])
    os.chdir(request["folder"])
    # The whole path, as a shell gives it: processes of a distributed training are started by it.
    script = Path(sys.executable).with_name(f"gradclip-{request['verb']}")
    sys.argv = [str(script), *request["arguments"]]
    code: Any = 0
    try:
        if request["first"] is not None:
            where, _, value = request["first"].partition(" ")
            module, _, function = where.partition(":")
            getattr(importlib.import_module(module), function)(value)
        importlib.import_module(f"apps.{request['verb']}").main()
    except SystemExit as end:
        code = end.code
    except BaseException:
        traceback.print_exc()
        code = 1
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code if isinstance(code, int) else code is not None)
