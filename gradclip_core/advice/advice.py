"""The advice: statistics, candidates, a choice, and why."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from torch.optim import Optimizer

from gradclip_core.advice.candidates import (
    Candidate,
    Trial,
    attempt,
    candidates,
    rolling_median,
)
from gradclip_core.advice.matrices import MatrixStatistics, describe_matrices
from gradclip_core.advice.meaning import is_adaptive, meaning
from gradclip_core.advice.record import Record
from gradclip_core.advice.rules import choose
from gradclip_core.advice.statistics import (
    NormStatistics,
    PartStatistics,
    describe_modules,
    describe_norms,
    describe_parameters,
)
from gradclip_core.advice.text import advice_text

# Usable steps that an advice needs; the second where training broke down after them.
MIN_STEPS, MIN_BROKEN_STEPS = 50, 4
VANISHED = 1e-3  # of the norms from the first to the last quarter


@dataclass(frozen=True, slots=True)
class Advice:
    """Which clipping would fit the recorded steps, and why. Deterministic.

    Examples:
        >>> import torch
        >>> from gradclip_core import advise
        >>> model = torch.nn.Linear(2, 1)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> def closure():
        ...     optimizer.zero_grad()
        ...     loss = model(torch.randn(8, 2)).square().mean()
        ...     loss.backward()
        ...     return loss
        >>> advice = advise(model, optimizer, closure, steps=60)
        >>> print(advice.text().splitlines()[0])
        60 steps without clipping
        >>> advice.norms.steps
        60

    Args:
        choice: the recommended rule: `choice.code` as Python, `choice.line` as overrides,
            `choice.clipper()` as the object.
        reasons: why, in sentences, by the rules of `gradclip_core.advice.rules`.
        notes: what else to know: what clipping means to the optimizer, what it cannot help.
        norms: the statistics of the whole gradient's norm.
        modules: the same for each module, largest norm first.
        parameters: the same for each parameter, largest norm first.
        matrices: singular values of each matrix's gradient, the largest first.
        trials: what each candidate would have done, the choice among them.
    """

    choice: Candidate
    reasons: tuple[str, ...]
    notes: tuple[str, ...]
    norms: NormStatistics
    modules: tuple[PartStatistics, ...]
    parameters: tuple[PartStatistics, ...]
    matrices: tuple[MatrixStatistics, ...]
    trials: tuple[Trial, ...]

    def text(self, *, overrides: bool = False) -> str:
        """The advice in lines of at most 100 characters.

        overrides: whether to name rules by overrides of a command line instead of as Python.
        """
        return advice_text(
            choice=self.choice,
            trials=self.trials,
            norms=self.norms,
            modules=self.modules,
            matrices=self.matrices,
            sentences=(*self.reasons, *self.notes),
            overrides=overrides,
        )

    def __str__(self) -> str:
        return self.text()

    def as_dict(self) -> dict[str, Any]:
        """All of it as plain values that JSON has; what is not finite is None.

        Examples:
            >>> import torch
            >>> from gradclip_core import advise
            >>> model = torch.nn.Linear(2, 1)
            >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
            >>> def closure():
            ...     optimizer.zero_grad()
            ...     loss = model(torch.randn(8, 2)).square().mean()
            ...     loss.backward()
            ...     return loss
            >>> advice = advise(model, optimizer, closure, steps=60)
            >>> import json
            >>> isinstance(json.dumps(advice.as_dict()), str)
            True
        """
        trials = [
            {"clipping": t.candidate.line, "code": t.candidate.code}
            | {"clipped_steps": t.clipped_steps, "clipped_parts": t.clipped_parts}
            | {"coefficient": t.coefficient}
            for t in self.trials
        ]
        found = {
            "clipping": self.choice.line,
            "code": self.choice.code,
            "reasons": self.reasons,
            "notes": self.notes,
            "norms": asdict(self.norms),
            "modules": [asdict(part) for part in self.modules],
            "parameters": [asdict(part) for part in self.parameters],
            "matrices": [asdict(part) for part in self.matrices],
            "candidates": trials,
        }
        return {key: _plain(value) for key, value in found.items()}


def make_advice(record: Record, optimizer: Optimizer | None) -> Advice:
    """The advice for a record. Raises ValueError for too few usable steps."""
    usable = record.usable
    _check_enough(len(usable.norms), record)
    norms, modules = describe_norms(record), describe_modules(record)
    net = rolling_median()
    trials = [attempt(candidate, usable) for candidate in candidates(usable)]
    over_net = next(trial.clipped_steps for trial in trials if trial.candidate == net)
    matrices, adaptive = describe_matrices(record), is_adaptive(optimizer)
    choice, reasons = choose(usable, norms, modules, matrices, over_net=over_net, adaptive=adaptive)
    if all(trial.candidate != choice for trial in trials):
        trials.append(attempt(choice, usable))
    return Advice(
        choice=choice,
        reasons=tuple(reasons),
        notes=tuple(_notes(choice, norms, modules, optimizer)),
        norms=norms,
        modules=modules,
        parameters=describe_parameters(record),
        matrices=matrices,
        trials=tuple(trials),
    )


def _check_enough(usable: int, record: Record) -> None:
    broke_down = not record.norms[-1].isfinite()
    if broke_down and usable < MIN_BROKEN_STEPS:
        raise ValueError(
            f"training without clipping broke down at step {len(record.norms)}, after {usable} "
            f"steps with a finite norm > 0; to advise takes {MIN_BROKEN_STEPS}: try a lower "
            "learning rate"
        )
    if not broke_down and usable < MIN_STEPS:
        raise ValueError(
            f"too few steps to advise from: {usable} with a finite norm > 0; it takes {MIN_STEPS}"
        )


def _notes(
    choice: Candidate,
    norms: NormStatistics,
    modules: tuple[PartStatistics, ...],
    optimizer: Optimizer | None,
) -> list[str]:
    notes = []
    if optimizer is not None:
        notes.append(meaning(optimizer, choice.arguments.get("value")))
    if norms.nonfinite and not norms.broke_down:
        notes.append(
            f"{norms.nonfinite} of the steps had no finite norm, and training went on; the guard "
            "of every clipper removes such steps (nonfinite=skip), which needs no threshold."
        )
    if norms.steps - norms.nonfinite < MIN_STEPS:
        notes.append(
            f"That rests on {norms.steps - norms.nonfinite} norms: take it as a start. A breakdown "
            "so early asks for a lower learning rate too."
        )
    dead = [part.name for part in modules if part.zero_steps > 0.5]
    if dead:
        notes.append(f"No gradient in most steps reaches {', '.join(dead)}.")
    if norms.drift <= VANISHED:
        notes.append(
            f"The norms all but vanished (last to first quarter {norms.drift:.2g}). Clipping only "
            "makes norms smaller: it cannot help against that."
        )
    return notes


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
