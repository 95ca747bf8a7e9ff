"""Settings of an optimizer that hold for one `step()` and are taken back after it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from torch.optim import Optimizer

from gradclip_core.stepping.step_hooks import StepHooks

Change: TypeAlias = Callable[[], Callable[[], None]]


class DuringStep:
    """Makes a change when the optimizer's next `step()` begins and undoes it when that ends.

    A change is a function that returns what undoes it. One that is set while a step is under
    way, from its closure, is made at once. What is set is forgotten after the step, and by the
    next one that is set: a step that never comes (a GradScaler skips it) leaves nothing behind.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self._pending: Change | None = None
        self._undo: Callable[[], None] | None = None
        self._hooks = StepHooks(optimizer, enter=self._enter, leave=self._take_back)

    @property
    def inside(self) -> bool:
        """Whether a step is under way."""
        return self._hooks.inside

    def set(self, change: Change | None) -> None:
        """Change this for the step under way or to come; None takes back what was set before."""
        self._pending = change
        if self.inside:
            self._take_back()
            self._make()

    def remove(self) -> None:
        """Take back what is changed, and watch the optimizer no longer."""
        self._take_back()
        self._hooks.remove()

    def _enter(self, *_: Any) -> None:
        self._take_back()  # of a step that broke off
        self._make()

    def _make(self) -> None:
        if self._pending is not None:
            self._undo, self._pending = self._pending(), None

    def _take_back(self) -> None:
        if self._undo is not None:
            self._undo()
            self._undo = None
