"""Recording the norms of a training without clipping, in any loop."""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from gradclip_core.advice.advice import Advice, make_advice
from gradclip_core.advice.candidates import LAST_LAYERS
from gradclip_core.advice.record import Record
from gradclip_core.checks import check_integer
from gradclip_core.clipper import Clipper
from gradclip_core.parts.collect import collect
from gradclip_core.parts.gradients import Gradients, Parameters
from gradclip_core.parts.keys import ParameterKeys
from gradclip_core.parts.norms import Parts
from gradclip_core.parts.partition import By, partition
from gradclip_core.report import ClipReport
from gradclip_core.rules.no_clip import NoClip
from gradclip_core.rules.rule import Rule
from gradclip_core.thresholds import Relative


class Advisor(Clipper):
    """Measures like `NoClip`, remembers what it measured, and says which clipping would fit.

    Examples:
        >>> import torch
        >>> from gradclip_core import Advisor
        >>> model = torch.nn.Linear(2, 1)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> advisor = Advisor()
        >>> for _ in range(60):
        ...     optimizer.zero_grad()
        ...     model(torch.randn(8, 2)).square().mean().backward()
        ...     _ = advisor(model)
        ...     optimizer.step()
        >>> clipper = advisor.advise(optimizer).choice.clipper()

    Call it between `backward()` and `step()` as any clipper, for 200 steps or so; it never
    changes a gradient. Then `advise()`. In a Lightning Trainer hand it to `GradientClipping`.

    Args:
        window: steps to remember, the latest ones; >= 1.

    Memory: 24 bytes for each parameter tensor and step, on the device of the gradients; what was
    recorded is no part of `state_dict`. Nothing is read from the device before `advise` or
    `record`. Parameters may be frozen, unfrozen and added between steps: they are told apart by
    name, and had no gradient in the steps without them. Raises ValueError for a window out of
    range.
    """

    def __init__(self, window: int = 10_000) -> None:
        super().__init__()
        self.window = check_integer("window", window)
        self.whole = NoClip()
        self.matrices = NoClip(measure="spectral")
        self.each = _Measure(by="parameter")
        self.units = _Measure(by="row", exclude=LAST_LAYERS, min_ndim=2)
        self._steps: deque[tuple[tuple[str, ...], tuple[Tensor, ...]]] = deque(maxlen=window)
        self._keys = ParameterKeys()
        self._names: dict[str, tuple[str, str | None]] = {}  # what is shown, and what was given

    @torch.no_grad()
    def forward(self, parameters: Parameters, *, loss: Tensor | None = None) -> ClipReport:
        """Record one step's gradients; the report is that of `NoClip`."""
        if not isinstance(parameters, (nn.Module, Optimizer, Tensor)):
            parameters = list(parameters)  # it is walked several times
        report: ClipReport = self.whole(parameters)
        self.last_report = report
        found = collect(parameters)
        if found.grads:
            keys = self._remember(found)
            each, ratio = self.each(parameters), self._unit_ratio(parameters, report)
            singular = self.matrices(parameters).parameter_norms
            measured = report.norm, ratio, each.norms, singular, each.thresholds
            self._steps.append((keys, measured))
        return report

    def _remember(self, found: Gradients) -> tuple[str, ...]:
        """The keys of the parameters that these gradients are of."""
        keys = self._keys(found)
        if self._steps and self._steps[-1][0] == keys:
            return self._steps[-1][0]
        for position, key in enumerate(keys):
            self._names[key] = found.name(position), found.names[position]
        return keys

    def _unit_ratio(self, parameters: Parameters, report: ClipReport) -> Tensor:
        """The largest ratio of a unit's gradient to its weights, 0-d; NaN where there is none."""
        nothing = report.norms.new_full((), math.nan)
        if any(name is None for name in report.names):
            return nothing
        units = self.units(parameters)
        return (units.norms / units.thresholds).amax() if len(units.norms) else nothing

    @property
    def record(self) -> Record:
        """What was recorded so far, copied to the CPU. Raises ValueError if that is nothing."""
        if not self._steps:
            raise ValueError("nothing was recorded: call the advisor between backward and step")
        every = tuple(dict.fromkeys(key for keys, _ in self._steps for key in keys))
        whole, ratios, each, singular, weights = (
            torch.stack(column).cpu().double()
            for column in zip(*(_among(every, *step) for step in self._steps), strict=True)
        )
        given = [self._names[key][1] for key in every]
        shown = tuple(self._names[key][0] for key in every)
        # Of a parameter that was not there the weights are those of the steps with it.
        weights = torch.where(weights.isnan(), weights.nanmean(0), weights)
        return Record(whole, each, singular, weights, ratios, shown, _modules(given, shown))

    def advise(self, optimizer: Optimizer | None = None) -> Advice:
        """Recommend a strategy and a threshold for what was recorded.

        Examples:
            >>> import torch
            >>> from gradclip_core import Advisor
            >>> model = torch.nn.Linear(2, 1)
            >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
            >>> advisor = Advisor()
            >>> for _ in range(60):
            ...     optimizer.zero_grad()
            ...     model(torch.randn(8, 2)).square().mean().backward()
            ...     _ = advisor(model)
            ...     optimizer.step()
            >>> len(advisor.advise(optimizer).reasons) > 0
            True

        Args:
            optimizer: the one that made the steps, for what clipping means to it.

        Raises ValueError for too few steps: at least `MIN_STEPS` with a finite norm are needed,
        or `MIN_BROKEN_STEPS` where training broke down after them.
        """
        return make_advice(self.record, optimizer)


def advise(
    model: nn.Module,
    optimizer: Optimizer,
    closure: Callable[[], Tensor | float],
    steps: int = 200,
) -> Advice:
    """Train `model` without clipping for `steps` steps and say which clipping would fit.

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
        >>> advice.choice.clipper()(model).clipped.item()
        False

    Args:
        model: the model to train.
        optimizer: the one that steps.
        closure: makes one step's gradients as for `torch.optim`: clears the old ones, computes the
            loss of the next batch, calls `backward()`, returns the loss. Each call should draw
            another batch. Gradients must be unscaled.
        steps: how many steps to make, >= 1.

    This is real training: model and optimizer are changed, as by any `steps` steps; pass copies
    where that matters. It ends early when the loss is not finite. For a loop that this does not
    fit use `Advisor`. Raises ValueError for fewer steps than `Advisor.advise` needs.
    """
    advisor = Advisor(window=check_integer("steps", steps))
    for _ in range(steps):
        loss = closure()
        finite = loss.isfinite() if isinstance(loss, Tensor) else math.isfinite(loss)
        advisor(model)
        if not finite:
            break
        optimizer.step()
    return advisor.advise(optimizer)


class _Measure(Rule):
    """Each part's gradient norm beside the norm of its weights, which it has as threshold."""

    def __init__(self, *, by: By, exclude: str | None = None, min_ndim: int = 0) -> None:
        weights = Relative(factor=1.0, eps=1e-3)
        super().__init__(weights, by=by, exclude=exclude, min_ndim=min_ndim, nonfinite="pass")

    def respond(self, parts: Parts, thresholds: Tensor) -> Tensor:
        """Leave the gradients as they are."""
        return parts.norms


def _among(
    every: tuple[str, ...], keys: tuple[str, ...], measured: tuple[Tensor, ...]
) -> tuple[Tensor, ...]:
    """What was measured in a step, with rows for the parameters that were not there.

    Their norms are 0, their weights NaN.
    """
    whole, ratio, *each = measured
    if keys == every:
        return measured
    places = torch.tensor([every.index(key) for key in keys], device=each[0].device)
    empty = [each[0].new_full((len(every),), fill) for fill in (0.0, 0.0, math.nan)]
    rows = [row.index_copy(0, places, held) for row, held in zip(empty, each, strict=True)]
    return whole, ratio, *rows


def _modules(given: list[str | None], shown: tuple[str, ...]) -> dict[str, tuple[int, ...]]:
    """The positions of each top-level module's parameters, by the module's name."""
    if None in given:
        return {name: (position,) for position, name in enumerate(shown)}
    nothing = [torch.empty(0, device="cpu")] * len(given)
    members = partition(Gradients(nothing, given, [0] * len(given)), "module").members
    paths = [name.split(".") for name in shown]
    wrappers = _shared(paths)
    depth = len(wrappers) + (len(members) > 1)
    return {".".join(paths[places[0]][:depth]) or "model": places for places in members}


def _shared(paths: list[list[str]]) -> list[str]:
    """What all paths begin with."""
    pieces = zip(*paths, strict=False)
    return [piece[0] for piece in itertools.takewhile(lambda p: len(set(p)) == 1, pieces)]
