"""PPO's advantages and losses beside their definitions, written out."""

from __future__ import annotations

import math

import pytest
import torch

from apps.driving.model import ForgetfulDriver, Output, RecurrentDriver
from apps.driving.ppo import PPO, Reward, Rollout, advantages, losses, play
from apps.driving.scenarios import Highway

HIGHWAY = Highway(seconds=5)
SCENES = HIGHWAY.scenes("train", range(6))


def rollout(learning: PPO, seed: int = 0) -> tuple[RecurrentDriver, Rollout]:
    torch.manual_seed(0)
    net = RecurrentDriver(18, "lstm", 8)
    generator = torch.Generator().manual_seed(seed)
    return net, play(net, HIGHWAY, SCENES, generator, learning, Reward())


@pytest.mark.parametrize("trace", [0.0, 0.5, 1.0])
def test_advantages_are_the_weighted_sum_of_surprises(trace: float) -> None:
    draw = torch.Generator().manual_seed(0)
    rewards, values = (torch.randn(7, 3, generator=draw, dtype=torch.float64) for _ in range(2))
    crashed = torch.zeros(7, 3, dtype=torch.float64)
    crashed[4, 1] = 1.0
    learning = PPO(discount=0.9, trace=trace)
    found = advantages(rewards, values, crashed, learning)
    for b in range(3):
        end = 5 if b == 1 else 7
        for t in range(end):
            expected = 0.0
            for k in range(t, end):
                after = values[min(k + 1, 6), b] * (1 - crashed[k, b])
                surprise = rewards[k, b] + 0.9 * after - values[k, b]
                expected += float((0.9 * trace) ** (k - t) * surprise)
            assert float(found[t, b]) == pytest.approx(expected, rel=1e-12)


def test_a_rollout_has_standard_advantages_over_the_decisions_before_a_crash() -> None:
    _, batch = rollout(PPO(episodes=6, minibatches=2))
    live = batch.weights > 0
    assert batch.weights.mean() == pytest.approx(1.0, rel=1e-6)
    assert batch.advantages[live].mean() == pytest.approx(0.0, abs=1e-5)
    assert batch.advantages[live].square().mean() == pytest.approx(1.0, rel=1e-4)
    assert batch.features.shape == (6, 10, 18)


def test_the_policy_of_the_drive_has_a_ratio_of_one() -> None:
    learning = PPO(episodes=6, minibatches=2, entropy=0.0, value=0.0, perception=0.0)
    net, batch = rollout(learning)
    found = losses(net(batch.features)[0], batch, learning)
    # Ratios of 1 to float32's rounding of sums of hundreds of terms.
    assert found.total.item() == pytest.approx(0.0, abs=1e-4)
    assert float(found.divergence) == pytest.approx(0.0, abs=1e-5)


def test_the_loss_is_that_of_the_paper() -> None:
    learning = PPO(episodes=6, minibatches=2, ratio=0.1, entropy=0.03, value=0.7, perception=0.4)
    _, batch = rollout(learning)
    draw = torch.Generator().manual_seed(1)
    shapes = ((6, 10, 5), (6, 10), (6, 10, 6), (6, 10, 6))
    output = Output(*(torch.randn(shape, generator=draw) for shape in shapes))
    total = 0.0
    for b in range(6):
        for t in range(10):
            policy = torch.distributions.Categorical(logits=output.logits[b, t])
            ratio = float((policy.log_prob(batch.actions[b, t]) - batch.log_probs[b, t]).exp())
            gain = float(batch.advantages[b, t])
            gain = min(ratio * gain, min(max(ratio, 0.9), 1.1) * gain)
            wrong = float(output.values[b, t] - batch.returns[b, t]) ** 2
            policy_loss = 0.7 * wrong - gain - 0.03 * float(policy.entropy())
            total += float(batch.weights[b, t]) * policy_loss / 60
            for slot in range(6):
                astray = float(output.gaps[b, t, slot] - batch.gaps[b, t, slot]) ** 2
                astray += float(output.speeds[b, t, slot] - batch.speeds[b, t, slot]) ** 2
                total += 0.4 * float(batch.present[b, t, slot]) * astray / 360
    assert losses(output, batch, learning).total.item() == pytest.approx(total, rel=1e-4)


def test_the_loss_of_a_batch_is_the_mean_over_its_episodes() -> None:
    """Which is what clipping by samples takes it to be."""
    learning = PPO(episodes=6, minibatches=2)
    net, batch = rollout(learning)
    net.heads.actor.bias.data += torch.tensor([0.3, -0.2, 0.1, 0.0, 0.0])
    whole = losses(net(batch.features)[0], batch, learning).total
    parts = [batch.of(torch.tensor([b])) for b in range(6)]
    single = [losses(net(part.features)[0], part, learning).total for part in parts]
    assert whole.item() == pytest.approx(torch.stack(single).mean().item(), rel=1e-5)


def test_a_larger_reward_of_an_action_makes_it_likelier() -> None:
    learning = PPO(episodes=6, minibatches=2, entropy=0.0, value=0.0, perception=0.0)
    net, batch = rollout(learning)
    praised = batch._replace(advantages=(batch.actions == 3).float() - 0.2)
    optimizer = torch.optim.SGD(net.parameters(), 0.5)
    before = net(batch.features)[0].logits.softmax(-1)[..., 3].mean()
    losses(net(batch.features)[0], praised, learning).total.backward()
    optimizer.step()
    assert net(batch.features)[0].logits.softmax(-1)[..., 3].mean() > before


def test_a_network_of_nan_has_a_loss_of_nan() -> None:
    learning = PPO(episodes=6, minibatches=2)
    torch.manual_seed(0)
    net = ForgetfulDriver(18, 8)
    torch.nn.init.constant_(net.heads.actor.bias, math.nan)
    batch = play(net, HIGHWAY, SCENES, torch.Generator(), learning, Reward())
    assert losses(net(batch.features)[0], batch, learning).total.isnan()


def test_drawn_actions_have_the_probabilities_of_the_network() -> None:
    torch.manual_seed(0)
    net = ForgetfulDriver(18, 8)
    wanted = torch.tensor([0.1, 0.5, 0.15, 0.05, 0.2])
    net.heads.actor.weight.data.zero_()
    net.heads.actor.bias.data.copy_(wanted.log())
    scenes = HIGHWAY.scenes("train", range(600))
    generator = torch.Generator().manual_seed(0)
    batch = play(net, HIGHWAY, scenes, generator, PPO(), Reward())
    shares = batch.actions.flatten().bincount(minlength=5) / batch.actions.numel()
    assert torch.allclose(shares, wanted, atol=0.02)  # 6,000 draws: three deviations


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"minibatches": 65}, "no more minibatches than episodes"),
        ({"passes": 0}, "passes=0"),
        ({"discount": 1.1}, "discount=1.1"),
        ({"ratio": 0.0}, "ratio > 0"),
        ({"entropy": -0.1}, "entropy=-0.1"),
    ],
)
def test_settings_that_cannot_be(settings: dict[str, float], expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        PPO(**settings)  # type: ignore[arg-type]


def test_a_reward_below_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="collision=-1"):
        Reward(collision=-1.0)
