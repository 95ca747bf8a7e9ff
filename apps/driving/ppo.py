"""Proximal policy optimisation on whole episodes (Schulman et al. 2017, arXiv:1707.06347)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from apps.driving.episodes import Drive, drive
from apps.driving.model import GAP_SCALE, SPEED_SCALE, Learned, Output
from apps.driving.scenarios import Highway, Scenes
from apps.driving.traffic import DECISION_SECONDS, TOP_SPEED


@dataclass(frozen=True, slots=True)
class Reward:
    """What a decision is paid: progress * speed / (30 m/s), less `collision` for a crash.

    Raises ValueError unless both are numbers >= 0.
    """

    progress: float = 0.4
    collision: float = 8.0

    def __post_init__(self) -> None:
        if not (0 <= self.progress < math.inf and 0 <= self.collision < math.inf):
            raise ValueError(
                f"progress={self.progress}, collision={self.collision}: must be numbers >= 0"
            )

    def of(self, driven: Drive) -> Tensor:
        """The rewards (T, B) of a drive; 0 after a crash."""
        speed = driven.distance / DECISION_SECONDS
        paid = self.progress * speed / TOP_SPEED - self.collision * driven.crashed
        return torch.from_numpy(paid * driven.active).float()


@dataclass(frozen=True, slots=True)
class PPO:
    """How a policy learns from its own drives.

    episodes: in a rollout. passes: over each rollout. minibatches: of whole episodes in a pass; a
    step of the optimizer each. discount, trace: of future rewards, and of generalised advantages
    (Schulman et al. 2016, arXiv:1506.02438). ratio: how far the probability of an action may move
    in a rollout before it earns nothing more. entropy, value, perception: weights in the loss,
    beside 1 of the policy.

    Raises ValueError for values out of range.
    """

    episodes: int = 64
    passes: int = 3
    minibatches: int = 4
    discount: float = 0.97
    trace: float = 0.95
    ratio: float = 0.2
    entropy: float = 0.005
    value: float = 0.25
    perception: float = 2.0

    def __post_init__(self) -> None:
        if not 1 <= self.minibatches <= self.episodes or self.passes < 1:
            raise ValueError(
                f"episodes={self.episodes}, minibatches={self.minibatches}, passes={self.passes}: "
                "must be >= 1, and no more minibatches than episodes"
            )
        if not (0 <= self.discount <= 1 and 0 <= self.trace <= 1):
            raise ValueError(f"discount={self.discount}, trace={self.trace}: must be from 0 to 1")
        weights = (self.entropy, self.value, self.perception)
        if not 0 < self.ratio < math.inf or not all(0 <= w < math.inf for w in weights):
            raise ValueError(
                f"ratio={self.ratio}, entropy={self.entropy}, value={self.value}, "
                f"perception={self.perception}: must be numbers >= 0, and ratio > 0"
            )

    @property
    def steps(self) -> int:
        """Steps of the optimizer on each rollout."""
        return self.passes * self.minibatches


class Rollout(NamedTuple):
    """Episodes to learn from, a sample each; all tensors (B, T, ...).

    log_probs: of the actions taken, as they were then. advantages: with a mean of 0 and a variance
    of 1 over the rollout. weights: 0 after a crash, and with a mean of 1. gaps, speeds: of the six
    cars around, in the network's units; present: 1 where there is one, weighted likewise.
    """

    features: Tensor
    actions: Tensor
    log_probs: Tensor
    advantages: Tensor
    returns: Tensor
    weights: Tensor
    gaps: Tensor
    speeds: Tensor
    present: Tensor

    def of(self, samples: Tensor) -> Rollout:
        """Those of some episodes."""
        return Rollout(*(part[samples] for part in self))


def play(
    net: nn.Module,
    highway: Highway,
    scenes: Scenes,
    generator: torch.Generator,
    learning: PPO,
    reward: Reward,
) -> Rollout:
    """Let a network drive, with actions drawn by the generator, and prepare what it learns from."""
    driver = Learned(net, generator)
    driven = drive(highway, scenes, driver)
    values, active = torch.stack(driver.values), torch.from_numpy(driven.active).float()
    crashed = torch.from_numpy(driven.crashed).float()
    raw = advantages(reward.of(driven), values, crashed, learning) * active
    count = active.sum()
    mean = raw.sum() / count
    spread = ((raw - mean).square() * active).sum().div(count).sqrt()
    actions = torch.from_numpy(driven.actions)
    log_probs = torch.stack(driver.logits).log_softmax(dim=-1)
    taken = log_probs.gather(-1, actions[..., None])[..., 0]
    around = driven.around
    there = torch.from_numpy(np.asarray(around.present, np.float32)) * active[..., None]
    parts = (
        torch.stack(driver.features),
        actions,
        taken,
        (raw - mean) / (spread + 1e-8),
        raw + values,
        active / active.mean(),
        torch.from_numpy(around.gaps).float() / GAP_SCALE,
        torch.from_numpy(around.speeds).float() / SPEED_SCALE,
        there / there.mean().clamp(min=1e-8),
    )
    return Rollout(*(part.transpose(0, 1).contiguous() for part in parts))


def advantages(rewards: Tensor, values: Tensor, crashed: Tensor, learning: PPO) -> Tensor:
    """Generalised advantages (T, B) of rewards, values and crashes (T, B).

    A crash ends an episode; the end of its time does not, and the value of the last state stands
    for that of the next.
    """
    found = torch.zeros_like(rewards)
    following = torch.zeros_like(rewards[0])
    ahead = values[-1]
    for t in reversed(range(len(rewards))):
        goes_on = learning.discount * (1.0 - crashed[t])
        surprise = rewards[t] + goes_on * ahead - values[t]
        following = surprise + learning.trace * goes_on * following
        found[t] = following
        ahead = values[t]
    return found


class Losses(NamedTuple):
    """The loss, 0-d, and how far the policy has moved from that of the drive (approximate KL)."""

    total: Tensor
    divergence: Tensor


def losses(output: Output, rollout: Rollout, learning: PPO) -> Losses:
    """The loss of a network's output on episodes that it drove before.

    The KL divergence is estimated by (r - 1) - log r (Schulman 2020, Approximating KL divergence).
    """
    log_probs = output.logits.log_softmax(dim=-1)
    taken = log_probs.gather(-1, rollout.actions[..., None])[..., 0]
    change = taken - rollout.log_probs
    ratio, weights = change.exp(), rollout.weights
    bounded = ratio.clamp(1.0 - learning.ratio, 1.0 + learning.ratio)
    gain = torch.minimum(ratio * rollout.advantages, bounded * rollout.advantages)
    entropy = -(log_probs.exp() * log_probs).sum(dim=-1)
    wrong = (output.values - rollout.returns).square()
    astray = (output.gaps - rollout.gaps).square() + (output.speeds - rollout.speeds).square()
    terms = learning.value * wrong - gain - learning.entropy * entropy
    total = (terms * weights).mean() + learning.perception * (astray * rollout.present).mean()
    return Losses(total, ((ratio - 1.0 - change) * weights).mean().detach())
