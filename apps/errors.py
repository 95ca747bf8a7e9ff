"""The exceptions that end a verb: a mistake of the user's, and a signal."""

from __future__ import annotations


class UserError(Exception):
    """A mistake in a command, a configuration, a file or its values.

    Its message is one line that names the key or file, the value found and what is allowed;
    the command line prints it to stderr and exits with code 2.
    """


class Terminated(BaseException):
    """The process was told to end: by SIGTERM, or by SIGHUP when its terminal was closed.

    Like KeyboardInterrupt it passes what catches errors, so that everything is left in order.
    """

    def __init__(self, signal: int) -> None:
        super().__init__(signal)
        self.signal = signal
