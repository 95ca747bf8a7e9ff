"""The one exception for mistakes a user can make."""

from __future__ import annotations


class UserError(Exception):
    """A mistake in a command, a configuration, a file or its values.

    Its message is one line that names the key or file, the value found and what is allowed;
    the command line prints it to stderr and exits with code 2.
    """
