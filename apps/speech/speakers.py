"""Statistics of each speaker's features, by which his utterances are normalised."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from apps.speech.features import FrontEnd, Statistics
from apps.speech.utterances import Utterance


def speaker_statistics(
    spoken: Iterable[tuple[Utterance, Tensor]], front_end: FrontEnd
) -> Mapping[str, Statistics]:
    """Statistics by speaker, over all of his utterances; empty unless `normalize` is `speaker`.

    spoken: utterances with their samples, gone through once. Who speaks is known, as in Kaldi's
    recipes, what he says is not. Utterances that name no speaker count for none.
    """
    if front_end.normalize != "speaker":
        return {}
    sums: dict[str, Tensor] = {}
    for utterance, samples in spoken:
        if utterance.speaker:
            found = _sums(front_end.raw(samples).double())
            before = sums.get(utterance.speaker)
            sums[utterance.speaker] = found if before is None else before + found
    return {speaker: _statistics(found) for speaker, found in sums.items()}


def _sums(features: Tensor) -> Tensor:
    """Count, sum and sum of squares (3, num_bands) of features (T, num_bands) over time."""
    return torch.stack([torch.ones_like(features), features, features.square()]).sum(dim=1)


def _statistics(sums: Tensor) -> Statistics:
    """From count, sum and sum of squares, float64; in float32."""
    count, total, squares = sums
    mean = total / count
    variance = (squares / count - mean.square()).clamp_min(0)
    return Statistics(mean.float(), variance.sqrt().float())
