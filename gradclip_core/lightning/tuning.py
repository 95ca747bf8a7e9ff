"""Clipping while Lightning tunes: its search for a learning rate or batch size drops callbacks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, Self

from gradclip_core.report import ClipReport


class Shared:
    """The last report, which a copy of a callback shares with it."""

    def __init__(self) -> None:
        self.report: ClipReport | None = None

    def __deepcopy__(self, _: Any) -> Shared:
        return self


class Attachable(Protocol):
    """What is asked of the callback: a fresh one like it, attached and detached."""

    def fresh(self) -> Self:
        """One of the same settings without a state."""

    def attach(self, trainer: Any, module: Any) -> None:
        """Clip in this training from now on."""

    def detach(self) -> None:
        """Clip no longer."""


class _Watch:
    """A module's `on_train_start` that calls a function before.

    Of a module that is copied or saved, as weight averaging does, it is left out: the copy has its
    own `on_train_start`, and no reference to the Trainer, whose locks cannot be copied.
    """

    def __init__(self, before: Callable[[], None], own: Callable[[], None]) -> None:
        self._before = before
        self._own = own

    def __call__(self) -> None:
        self._before()
        self._own()

    def __reduce__(self) -> tuple[Any, ...]:
        return _same, (self._own,)


def _same(own: Callable[[], None]) -> Callable[[], None]:
    return own


class Tuning:
    """Has a fresh copy of the callback clip where the Trainer's callbacks are replaced.

    The tuner trains with callbacks of its own, but calls the module's `on_train_start`.
    """

    def __init__(self, callback: Attachable) -> None:
        self._callback = callback
        self._copy: Attachable | None = None
        self._restore: Callable[[], None] | None = None

    def begin(self, trainer: Any, module: Any) -> None:
        """Watch the beginnings of training of this module."""
        self.end()
        own, kept = module.on_train_start, vars(module).get("on_train_start")
        module.on_train_start = _Watch(lambda: self._start(trainer, module), own)

        def restore() -> None:
            del module.on_train_start
            if kept is not None:
                module.on_train_start = kept

        self._restore = restore

    def ended(self) -> bool:
        """Take the copy away, if there was one; whether there was."""
        copy, self._copy = self._copy, None
        if copy is not None:
            copy.detach()
        return copy is not None

    def end(self) -> None:
        """Leave the module alone."""
        self.ended()
        if self._restore is not None:
            self._restore()
            self._restore = None

    def _start(self, trainer: Any, module: Any) -> None:
        present = {id(callback) for callback in trainer.callbacks}
        if not {id(self._callback), id(self._copy)} & present:
            self.ended()
            self._callback.detach()
            self._copy = self._callback.fresh()
            self._copy.attach(trainer, module)
            trainer.callbacks.append(self._copy)
