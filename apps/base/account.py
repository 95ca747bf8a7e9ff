"""What was found in the data: said before training, kept with the run, shown in the report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Account:
    """Lines by their titles, such as rows, target and split.

    >>> print(Account({"rows": "100", "target": "load"}))
    rows    100
    target  load
    """

    lines: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        """The lines with their titles in a column."""
        width = max(map(len, self.lines), default=0)
        return "\n".join(f"{title:<{width}}  {line}" for title, line in self.lines.items())

    @property
    def sentence(self) -> str:
        """All of it in one line, for a note of the report."""
        return "; ".join(f"{title}: {line}" for title, line in self.lines.items()) + "."
