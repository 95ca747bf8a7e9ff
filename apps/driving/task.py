"""Training a network to drive."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from apps.base.task import Optimization, Task
from apps.driving.data import Turn
from apps.driving.episodes import drive
from apps.driving.metrics import scores, table_of
from apps.driving.model import Learned
from apps.driving.ppo import PPO, Reward, Rollout, losses, play
from apps.driving.scenarios import Highway


class DrivingTask(Task):
    """Minimises PPO's loss on episodes that the network itself has driven.

    A batch arrives as a `Turn`, and is trained on as a `Rollout` of whole episodes: the first turn
    of a rollout lets the network drive. The validation loss is 1 less the driving score on the
    validation scenarios as a share, NaN for a network whose logits are not finite. An untrained
    network takes one action or another all the time, which suits some roads: to end worse is a
    result here, and no divergence.
    """

    may_stall = True
    measures = ("kl",)

    def __init__(
        self,
        net: nn.Module,
        optimization: Optimization,
        highway: Highway,
        learning: PPO,
        reward: Reward,
    ) -> None:
        super().__init__(net, optimization)
        self.highway = highway
        self.learning = learning
        self.reward = reward
        self._divergence = torch.tensor(float("nan"))
        self._played: tuple[int, Rollout] | None = None

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """The episodes that a step learns from, as they are trained on."""
        if isinstance(batch, Turn):
            batch = self._episodes(batch)
        return super().on_after_batch_transfer(batch, dataloader_idx)

    def _episodes(self, turn: Turn) -> Rollout:
        """The minibatch of a step; drives where that has not been done for the rollout."""
        if self._played is None or self._played[0] != turn.rollout:
            self._played = turn.rollout, self._play(turn)
        repeat, number = divmod(turn.step, self.learning.minibatches)
        generator = _generator(turn.seed, turn.rollout, repeat)
        order = torch.randperm(self.learning.episodes, generator=generator)
        samples = torch.tensor_split(order, self.learning.minibatches)[number]
        return Rollout(*(part.to(self.device) for part in self._played[1].of(samples)))

    def _play(self, turn: Turn) -> Rollout:
        first = turn.rollout * self.learning.episodes
        numbers = range(first, first + self.learning.episodes)
        scenes = self.highway.scenes("train", numbers, turn.seed)
        generator = _generator(turn.seed, turn.rollout, self.learning.passes)
        return play(self.net, self.highway, scenes, generator, self.learning, self.reward)

    def loss(self, batch: Rollout) -> Tensor:
        """The loss of some episodes, 0-d."""
        output, _ = self.net(batch.features)
        total, self._divergence = losses(output, batch, self.learning)
        return total

    def training_step(self, batch: Rollout, batch_idx: int) -> Tensor:
        """The loss, beside which the approximate KL divergence is measured."""
        loss = super().training_step(batch, batch_idx)
        # Not in `loss`, which a clipper of samples calls again for each of them.
        self.measured = {"kl": self._divergence}
        return loss

    def validation_loss(self, batch: Tensor) -> Tensor:
        """1 less the score as a share on scenarios of some numbers, 0-d."""
        driver = Learned(self.net)
        scenes = self.highway.scenes("val", batch.tolist())
        table = table_of(drive(self.highway, scenes, driver), self.highway, "val")
        score = scores(table)["score"] if driver.finite else float("nan")
        return torch.tensor(1.0 - score / 100.0, device=self.device)

    @property
    def faults(self) -> tuple[str, ...]:
        """Detections and returns may be wrong, and returns may be mixed up."""
        return ("outliers", "label_noise")

    def outlying(self, batch: Rollout, scale: float) -> Rollout:
        """The batch with observations, advantages and returns `scale` times as large."""
        return batch._replace(
            features=scale * batch.features,
            advantages=scale * batch.advantages,
            returns=scale * batch.returns,
        )

    def relabelled(self, batch: Rollout, order: Tensor) -> Rollout:
        """The batch with the advantages and returns of other episodes."""
        return batch._replace(advantages=batch.advantages[order], returns=batch.returns[order])

    def batch_size(self, batch: Any) -> int:
        """Number of episodes in a batch, or of scenarios to validate on."""
        return len(batch.features) if isinstance(batch, Rollout) else len(batch)


def _generator(*key: int) -> torch.Generator:
    return torch.Generator().manual_seed(hash(key) % 2**63)
