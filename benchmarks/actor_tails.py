"""Are the gradients of PPO's actor heavy-tailed, and what of that does clipping the ratio offset?

    python -m benchmarks.actor_tails --seeds 3

Garg et al. 2021, On Proximal Policy Optimization's Heavy-tailed Gradients (ICML, arXiv:2102.10264)
answer: yes, more so than the critic's, more the further the policy is from the one that drove, and
the ratio's clip offsets that. Here a sample is an episode, since the network is recurrent. Printed
is the kurtosis of the samples' gradient norms (3 for a normal distribution), at some rollouts of a
training with the settings of app=driving, but for a constant rate and no gradient clipping: before
the first step on the rollout, after four passes, and after sixteen.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable

import numpy as np
import torch
from scipy import stats
from torch import Tensor, nn

from apps.driving.model import NUM_FEATURES, Output, RecurrentDriver
from apps.driving.ppo import PPO, Reward, Rollout, losses, play
from apps.driving.scenarios import Highway

MEASURED = (1, 20, 60)  # rollouts of the training
PASSES = (0, 4, 16)
SAMPLES = 128  # episodes whose gradients are taken one by one
RATE = 0.001
LEARNING = PPO(passes=4, perception=0.5)

Loss = Callable[[Output, Rollout], Tensor]


def surrogate(output: Output, rollout: Rollout) -> Tensor:
    """The actor's gain without a clip of the ratio."""
    return (_ratio(output, rollout) * rollout.advantages * rollout.weights).mean()


def clipped_surrogate(output: Output, rollout: Rollout) -> Tensor:
    """The actor's gain as PPO has it."""
    ratio = _ratio(output, rollout)
    bounded = ratio.clamp(1 - LEARNING.ratio, 1 + LEARNING.ratio)
    gain = torch.minimum(ratio * rollout.advantages, bounded * rollout.advantages)
    return (gain * rollout.weights).mean()


def critic(output: Output, rollout: Rollout) -> Tensor:
    """The squared error of the values."""
    return ((output.values - rollout.returns).square() * rollout.weights).mean()


LOSSES: dict[str, Loss] = {
    "actor": surrogate,
    "actor, ratio clipped": clipped_surrogate,
    "critic": critic,
}


def _ratio(output: Output, rollout: Rollout) -> Tensor:
    log_probs = output.logits.log_softmax(dim=-1).gather(-1, rollout.actions[..., None])[..., 0]
    return (log_probs - rollout.log_probs).exp()


def norms(net: nn.Module, rollout: Rollout, loss: Loss) -> np.ndarray:
    """The norm of the gradient of each of the first episodes, by itself."""
    found = []
    for sample in range(SAMPLES):
        net.zero_grad()
        episode = rollout.of(torch.tensor([sample]))
        output, _ = net(episode.features)
        loss(output, episode).backward()
        parts = [p.grad.norm() for p in net.parameters() if p.grad is not None]
        found.append(float(torch.stack(parts).norm()))
    return np.array(found)


def learn(net: nn.Module, optimizer: torch.optim.Optimizer, rollout: Rollout) -> None:
    """One pass over a rollout."""
    for samples in torch.randperm(len(rollout.features)).chunk(LEARNING.minibatches):
        part = rollout.of(samples)
        output, _ = net(part.features)
        optimizer.zero_grad()
        losses(output, part, LEARNING).total.backward()
        optimizer.step()


def train(seed: int) -> None:
    """Train and print, for each measured rollout, a line of JSON."""
    torch.manual_seed(seed)
    highway, net = Highway(), RecurrentDriver(NUM_FEATURES)
    optimizer = torch.optim.Adam(net.parameters(), RATE)
    generator = torch.Generator().manual_seed(seed)
    for number in range(1, max(MEASURED) + 1):
        episodes = 2 * LEARNING.episodes
        scenes = highway.scenes("train", range(number * episodes, (number + 1) * episodes), seed)
        rollout = play(net, highway, scenes, generator, LEARNING, Reward())
        for passes in range(max(PASSES) if number in MEASURED else LEARNING.passes):
            if number in MEASURED and passes in PASSES:
                show(net, rollout, seed=seed, number=number, passes=passes)
            learn(net, optimizer, rollout)
        if number in MEASURED:
            show(net, rollout, seed=seed, number=number, passes=max(PASSES))


def show(net: nn.Module, rollout: Rollout, **where: int) -> None:
    """Print the kurtosis of the norms of each loss."""
    found = {
        name: round(float(stats.kurtosis(norms(net, rollout, loss), fisher=False)), 1)
        for name, loss in LOSSES.items()
    }
    print(json.dumps({**where, **found}), flush=True)


def main() -> None:
    """Measure for some seeds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    torch.set_num_threads(1)
    for seed in range(parser.parse_args().seeds):
        train(seed)


if __name__ == "__main__":
    main()
