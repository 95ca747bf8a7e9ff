"""Texts with human judgements, each on one side of a split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from apps.errors import UserError

Part = Literal["train", "val", "test"]
PARTS: tuple[Part, ...] = ("train", "val", "test")

# Ratings go from -SCALE to SCALE; those nearer to 0 than NEUTRAL are neutral.
SCALE = 4.0
NEUTRAL = 0.5
POLARITIES = ("negative", "neutral", "positive")


@dataclass(frozen=True)
class Corpus:
    """A table of texts with the columns domain, document, text, split and target.

    classes: the labels, which `target` numbers; None where `target` is a rating from -4 to 4.
    note: what was done to the texts, for the account.
    """

    frame: pd.DataFrame
    classes: tuple[str, ...] | None
    note: str = ""

    def part(self, part: Part) -> pd.DataFrame:
        """The rows of one side of the split."""
        return self.frame[self.frame["split"] == part].reset_index(drop=True)


def polarity(ratings: pd.Series) -> np.ndarray:
    """Ratings as numbers of POLARITIES."""
    values = ratings.to_numpy(float)
    return np.where(values <= -NEUTRAL, 0, np.where(values >= NEUTRAL, 2, 1))


def check(corpus: Corpus, name: str) -> None:
    """UserError unless every side of the split has texts of two classes, and training of all.

    Of ratings the negative and the positive ones count.
    """
    frame, classes = corpus.frame, corpus.classes
    names: Sequence[str] = POLARITIES if classes is None else classes
    found = polarity(frame["target"]) if classes is None else frame["target"].to_numpy(int)
    needed = {0, 2} if classes is None else set(range(len(names)))
    if len(set(found) & needed) < 2:
        there = ", ".join(repr(names[i]) for i in sorted(set(found))) or "none"
        raise UserError(f"{name}: texts of one class only ({there}); two are needed")
    for part in PARTS:
        inside = set(found[(frame["split"] == part).to_numpy()]) & needed
        if len(inside) < 2 or (part == "train" and inside != needed):
            lacking = ", ".join(repr(names[i]) for i in sorted(needed - inside))
            raise UserError(
                f"{name}: {int((frame['split'] == part).sum())} texts to {part} on, none of "
                f"{lacking}; more texts are needed"
            )


def choose_domains(
    frame: pd.DataFrame, train: Sequence[str] | None, test: Sequence[str] | None, name: str
) -> pd.DataFrame:
    """Train and validate on some domains, test on others; None takes all."""
    known = sorted(set(frame["domain"]))
    for key, wanted in (("train_domains", train), ("test_domains", test)):
        unknown = [domain for domain in wanted or () if domain not in known]
        if unknown or wanted == []:
            raise UserError(f"data.{key}={wanted}: {name} has the domains {', '.join(known)}")
    testing = frame["split"] == "test"
    kept = np.where(
        testing, frame["domain"].isin(test or known), frame["domain"].isin(train or known)
    )
    return frame[kept].reset_index(drop=True)
