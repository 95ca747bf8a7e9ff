"""What was measured, and the file that keeps it from one run to the next."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

STATES = {"not needed": False, "binding": True}


@dataclass(frozen=True, slots=True)
class Row:
    """One contender's ratios to the base call: quartiles and median."""

    base: str
    contender: str
    low: float
    median: float
    high: float


@dataclass(slots=True)
class Measured:
    """`rows[set][rule][binding]` has a row for each contender, `history` one for each threshold.

    `accuracy` has one for each way to measure a norm; `commands` are those that measured it all.
    """

    rows: dict[str, dict[str, dict[bool, list[Row]]]] = field(default_factory=dict)
    history: list[tuple[str, list[float]]] = field(default_factory=list)
    accuracy: list[tuple[str, list[float]]] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)

    def medians(self) -> Iterator[tuple[str, str, bool, Row]]:
        """Every row with its set, rule and state."""
        for set_name, by_rule in self.rows.items():
            for rule, by_state in by_rule.items():
                for binding, rows in by_state.items():
                    for row in rows:
                        yield set_name, rule, binding, row

    def median(self, set_name: str, rule: str, contender: str, binding: bool) -> float | None:
        """The median ratio of one contender; None where there is none."""
        rows = self.rows.get(set_name, {}).get(rule, {}).get(binding, [])
        return next((row.median for row in rows if row.contender == contender), None)

    @classmethod
    def read(cls, path: Path | None) -> Measured:
        """What a file holds; nothing without one."""
        if path is None or not path.exists():
            return cls()
        kept = json.loads(path.read_text())
        measured = cls(commands=kept["commands"])
        measured.history = [(name, shares) for name, shares in kept["history"]]
        measured.accuracy = [(name, errors) for name, errors in kept["accuracy"]]
        for set_name, rule, state, row in kept["rows"]:
            by_rule = measured.rows.setdefault(set_name, {})
            by_state = by_rule.setdefault(rule, {})
            by_state.setdefault(STATES[state], []).append(Row(**row))
        return measured

    def write(self, path: Path) -> None:
        """Keep everything in a file."""
        names = {binding: state for state, binding in STATES.items()}
        rows = [[s, rule, names[b], asdict(row)] for s, rule, b, row in self.medians()]
        kept = {name: getattr(self, name) for name in ("history", "accuracy", "commands")}
        path.write_text(json.dumps(kept | {"rows": rows}))
