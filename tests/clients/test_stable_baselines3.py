"""PPO of Stable-Baselines3: equal to its own `max_grad_norm`, warned of beside it, resumable."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

gym = pytest.importorskip("gymnasium", reason="gymnasium is not installed")
sb3 = pytest.importorskip("stable_baselines3", reason="stable-baselines3 is not installed")

import numpy as np  # noqa: E402
import torch  # noqa: E402
from torch import Tensor  # noqa: E402

from gradclip_core import ClipNorm, Median, clip_in_step  # noqa: E402
from gradclip_core.optimizers import Adam  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

BOUND, OFF = 0.05, 1e9  # what Stable-Baselines3 has for no clipping


class Walk(gym.Env):  # type: ignore[misc]
    """A walk on a line that is paid for going right; no other package is needed for it."""

    observation_space = gym.spaces.Box(-10.0, 10.0, (1,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.at, self.left = float(self.np_random.normal()), 16
        return np.array([self.at], np.float32), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict]:
        move = 1.0 if action else -1.0
        self.at, self.left = self.at + move, self.left - 1
        return np.array([self.at], np.float32).clip(-10, 10), move, self.left == 0, False, {}


def make(max_norm: float, **policy: Any) -> Any:
    return sb3.PPO(
        "MlpPolicy",
        Walk(),
        n_steps=64,
        batch_size=32,
        n_epochs=4,
        max_grad_norm=max_norm,
        policy_kwargs={"net_arch": [8], **policy},
        seed=0,
        device="cpu",
    )


def weights(agent: Any) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in agent.policy.state_dict().items()}


@pytest.mark.parametrize("way", ["in step", "twin"])
def test_weights_are_those_of_its_own_clipping(way: str) -> None:
    clipper, settings = ClipNorm(BOUND), {}
    if way == "twin":
        settings = {"optimizer_class": Adam, "optimizer_kwargs": {"clipper": clipper, "eps": 1e-5}}
    ours = make(OFF, **settings)
    if way == "in step":
        clip_in_step(ours.policy.optimizer, clipper)
    clipper.attach(model=ours.policy)
    ours.learn(128)
    theirs = make(BOUND).learn(128)  # made after it: both draw from torch's generator
    # Float32: norms that differ in their last digit, through sixteen steps of Adam.
    torch.testing.assert_close(weights(ours), weights(theirs), rtol=1e-4, atol=1e-5)
    assert clipper.last_report is not None
    assert clipper.last_report.worst_parameter in dict(ours.policy.named_parameters())
    assert float(clipper.last_report.clip_rate) > 0.5


def test_its_own_clipping_beside_a_twin_is_told_of() -> None:
    agent = make(BOUND)
    clip_in_step(agent.policy.optimizer, ClipNorm(1.0))
    with pytest.warns(UserWarning, match="as if they were clipped before"):
        agent.learn(128)


def go_on(agent: Any) -> dict[str, Tensor]:
    """Learn on, in a new episode and with the same draws."""
    agent.set_env(Walk())
    agent.set_random_seed(3)
    agent.learn(128)
    return weights(agent)


def test_a_saved_agent_goes_on_with_the_history_of_its_threshold(tmp_path: Path) -> None:
    twin = {"clipper": ClipNorm(Median(1.0)), "eps": 1e-5}
    agent = make(OFF, optimizer_class=Adam, optimizer_kwargs=twin).learn(128)
    agent.save(tmp_path / "agent")
    again = sb3.PPO.load(tmp_path / "agent")
    mine, theirs = (a.policy.optimizer.clipper.state_dict() for a in (agent, again))
    assert mine.keys() == theirs.keys()
    assert mine["steps"] == theirs["steps"] > 0
    torch.testing.assert_close(go_on(again), go_on(agent), rtol=0, atol=0)
