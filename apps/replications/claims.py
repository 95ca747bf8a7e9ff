"""A paper's claims beside what was measured here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from apps.report.charts.theme import Figure
from apps.report.model.results import Results
from apps.report.model.runs import Value
from apps.report.model.tables import Cell, Column, NamedTable, Table


@dataclass(frozen=True, slots=True)
class Claim:
    """What a paper says, in our words, what was measured, and whether that agrees.

    `agrees` is None where the comparison lacks the runs that would tell.
    """

    text: str
    measured: str
    agrees: bool | None

    @property
    def verdict(self) -> str:
        """Whether it agrees, in words."""
        if self.agrees is None:
            return "not measured"
        return "agrees" if self.agrees else "does not agree"


def number(results: Results, settings: Mapping[str, Value], key: str) -> float:
    """What a numeric key was for runs of these settings, swept or not; KeyError if it is none."""
    value: Any = settings.get(key)
    if value is None:
        value = results.config
        for part in key.split("."):
            value = value[part]
    return float(value)


@dataclass(frozen=True, slots=True)
class Repetition:
    """A published result repeated: its source, its claims, a picture."""

    source: str
    claims: Sequence[Claim]
    figures: Sequence[Figure]

    @property
    def table(self) -> NamedTable:
        """The claims beside what was measured."""
        columns = [Column(head, words=True) for head in ("Claim", "Measured here", "Verdict")]
        rows = [[Cell(c.text), Cell(c.measured), Cell(c.verdict, bold=True)] for c in self.claims]
        title = "A known result, repeated"
        note = (
            f"Claims of {self.source}, in our words. A verdict is on what was measured; whether "
            "a difference is beyond the spread over seeds is said at the top of the report."
        )
        return NamedTable(title, Table(columns, {"": rows}), note)

    @property
    def sentences(self) -> list[str]:
        """The claims in sentences, for the terminal."""
        return [f"{c.text} Measured: {c.measured} ({c.verdict})" for c in self.claims]
