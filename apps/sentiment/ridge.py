"""A ridge regression on n-grams, with which a network's answer is averaged.

It is fitted in closed form before training and stays as it is: it has buffers and no parameters,
so that no gradient reaches it, and neither an optimizer nor a clipper knows of it. Network and
ridge learn apart, each by its own loss; their answers meet in `mixture.py`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from sklearn.linear_model import Ridge as RidgeRegression
from torch import Tensor, nn

from apps.sentiment.ngrams import Ngrams
from apps.sentiment.vocabulary import check_sizes

Floats = NDArray[np.float64]
# From a regression on indicators of the classes, about 1/2 apart in a clear text, to logits.
_LOGITS = 4.0


class Ridge(nn.Module):
    """The weights (num_ngrams, K) and biases (K,) of a ridge regression, float32 buffers.

    num_classes: K; None for ratings, whose only output is the rating.
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, num_ngrams: int, num_classes: int | None) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.register_buffer("weight", torch.zeros(num_ngrams, num_classes or 1))
        self.register_buffer("bias", torch.zeros(num_classes or 1))

    def set_weights(self, weight: Floats, bias: Floats) -> None:
        """Fill the buffers with what `RidgeSource.fit` has found."""
        self.weight.copy_(torch.from_numpy(weight))
        self.bias.copy_(torch.from_numpy(bias))

    def scores(self, inputs: sparse.csr_matrix) -> Floats:
        """Ratings (N, 1) or logits of the classes (N, K) of weighted n-grams (N, num_ngrams)."""
        weight, bias = self.weight.double().cpu().numpy(), self.bias.double().cpu().numpy()
        found: Floats = inputs @ weight + bias
        return found if self.num_classes is None else _LOGITS * found


class RidgeSource(ABC):
    """Where a ridge comes from, chosen by ridge=."""

    @abstractmethod
    def ngrams(self, texts: Iterable[str]) -> Ngrams | None:
        """What it reads, found in the training texts; None where there is to be no ridge."""

    @abstractmethod
    def fit(
        self, inputs: sparse.csr_matrix, targets: Floats, num_classes: int | None
    ) -> tuple[Floats, Floats]:
        """Weights and biases for the weighted n-grams of texts, and their ratings or classes."""


class NoRidge(RidgeSource):
    """None: the network answers alone."""

    def ngrams(self, texts: Iterable[str]) -> None:
        """Nothing is read."""
        return

    def fit(
        self, inputs: sparse.csr_matrix, targets: Floats, num_classes: int | None
    ) -> tuple[Floats, Floats]:
        """There is nothing to fit."""
        raise TypeError("there is no ridge to fit")


@dataclass(frozen=True)
class NgramRidge(RidgeSource):
    """A ridge regression on words, pairs of words and runs of letters, by scikit-learn.

    min_texts: an n-gram must stand in so many training texts to be read. max_size: most frequent
    ones that are read. alpha: strength of the penalty on the squared weights. bayes: how far the
    penalty spares what tells ratings or classes apart (see `_scales`), from 0, not, to 1.
    """

    min_texts: int = 2
    max_size: int = 200000
    alpha: float = 1.0
    bayes: float = 0.5

    def __post_init__(self) -> None:
        check_sizes(min_texts=self.min_texts, max_size=self.max_size)
        if not 0 < self.alpha < np.inf:
            raise ValueError(f"alpha must be a number > 0, got {self.alpha}")
        if not 0 <= self.bayes <= 1:
            raise ValueError(f"bayes must be a share from 0 to 1, got {self.bayes}")

    def ngrams(self, texts: Iterable[str]) -> Ngrams:
        """The n-grams of the training texts."""
        return Ngrams.fit(texts, self.min_texts, self.max_size)

    def fit(
        self, inputs: sparse.csr_matrix, targets: Floats, num_classes: int | None
    ) -> tuple[Floats, Floats]:
        """Ratings as they are, classes by an indicator of each, less 1 / K."""
        wanted = targets[:, None]
        if num_classes is not None:
            wanted = np.eye(num_classes)[targets.astype(int)] - 1 / num_classes
        if not inputs.shape[1]:  # no n-gram stands in two texts
            return np.zeros((0, wanted.shape[1])), wanted.mean(axis=0)
        parts = [self._fit_one(inputs, column) for column in wanted.T]
        weights, biases = zip(*parts, strict=True)
        return np.stack(weights, axis=1), np.array(biases)

    def _fit_one(self, inputs: sparse.csr_matrix, wanted: Floats) -> tuple[Floats, float]:
        """Weights (num_ngrams,) and bias for one rating or indicator (N,)."""
        scales = _scales(inputs, wanted, self.bayes)
        model = RidgeRegression(self.alpha, solver="lsqr")
        model.fit(inputs.multiply(scales).tocsr(), wanted)
        return scales * model.coef_, float(model.intercept_)


def _scales(inputs: sparse.csr_matrix, wanted: Floats, bayes: float) -> Floats:
    """What each n-gram counts times (num_ngrams,): a larger scale is a smaller penalty.

    (1 - bayes) m + bayes |r| with r = log((p / sum p) / (q / sum q)), the log-count ratio of naive
    Bayes with smoothing 1, and m the mean of |r| (Wang and Manning 2012, "Baselines and bigrams").
    p sums the texts that are above the mean of `wanted`, q those below, each text by how far. The
    texts' lengths keep their mean square, so that the penalty is as strong on the whole as without.
    """
    present = inputs.sign()
    apart = wanted - wanted.mean()
    above, below = (
        1 + present.T @ (side / max(side.max(), 1e-12))
        for side in (apart.clip(min=0), (-apart).clip(min=0))
    )
    ratio = np.abs(np.log(above / above.sum()) - np.log(below / below.sum()))
    scales = (1 - bayes) * ratio.mean() + bayes * ratio
    before, after = inputs.power(2).sum(), inputs.multiply(scales).power(2).sum()
    if not after > 0:  # nothing tells them apart
        return np.ones(inputs.shape[1])
    found: Floats = scales * np.sqrt(before / after)
    return found
