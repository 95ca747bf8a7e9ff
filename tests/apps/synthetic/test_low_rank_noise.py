"""Low-rank noise: its noise, its gradient, the theorem's rate and thresholds, its runs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from apps.base.task import Optimization
from apps.synthetic.low_rank_noise.data import RankOne
from apps.synthetic.low_rank_noise.task import Matrices, MatricesTask
from apps.synthetic.low_rank_noise.theorem import TheoremRate, clipper
from tests.apps.runs import assert_same_run, metrics, steps
from tests.conftest import refused, succeed

PROBLEM = ("experiment=spectral", "app.matrices=8", "app.side=4")


def sgd(groups):
    return torch.optim.SGD(groups, lr=0.5)


def test_noise_is_of_rank_one_with_the_law_that_it_says():
    drawn = RankOne(1.5, floor=0.0).draw(np.random.default_rng(0), 2_000, 3)
    values = torch.linalg.svdvals(drawn.double())
    # float32 rounds each element to 6e-8 of itself, and so moves singular values by some 1e-7.
    assert (values[:, 1] <= 1e-6 * values[:, 0]).all()
    assert stats.kstest(values[:, 0], stats.lomax(1.5).cdf).pvalue > 0.01
    trace = drawn.diagonal(dim1=1, dim2=2).sum(1)
    assert (trace > 0).double().mean() == pytest.approx(0.5, abs=0.05), "it is symmetric"


def test_the_floor_is_normal_in_all_directions():
    generators = [np.random.default_rng(0) for _ in range(2)]
    bare, whole = (
        RankOne(1.5, floor).draw(one, 500, 4)
        for floor, one in zip((0.0, 0.2), generators, strict=True)
    )
    # The largest outliers take from a float32 difference what a normal number has of digits.
    usual = (whole - bare)[bare.abs().amax((1, 2)) < 100].flatten()
    assert stats.kstest(usual, stats.norm(scale=0.1).cdf).pvalue > 0.01


def test_the_gradient_is_noisy_and_what_is_counted_is_not():
    task = MatricesTask(Matrices(4, 3, start=2.0), Optimization(sgd))
    noise = torch.randn(4, 3, 3)
    assert task.validation_loss(noise).item() == 12.0, "before the first step: where it stands"
    task.count()
    loss = task.loss(noise)
    loss.backward()
    assert loss.item() == pytest.approx(6.0), "half the squared norm of 2 I"
    for point, drawn in zip(task.net.points, noise, strict=True):
        assert torch.allclose(point.grad, 2.0 * torch.eye(3) + drawn, atol=1e-6)
    with torch.no_grad():
        task.net.points[0].zero_()
        task.net.points[3].mul_(3.0)
    task.count()
    assert task.validation_loss(noise).item() == pytest.approx((6.0 + 12.0) / 2)
    assert task.scored().tolist() == pytest.approx([12.0, (12.0 + 108.0) / 2])


@pytest.mark.parametrize(
    ("rule", "wanted"),
    [
        ("clamp", [[4.0, 0.0], [0.0, 1.0]]),
        ("scale", [[4.0, 0.0], [0.0, 0.5]]),
        ("norm", [[4 * 8 / 65**0.5, 0.0], [0.0, 4 / 65**0.5]]),
        ("element", [[4.0, 0.0], [0.0, 1.0]]),
    ],
)
def test_each_rule_clips_to_the_theorems_bound(rule, wanted):
    clip = clipper(rule, t=2.0, steps=16, tail_index=2.0)  # 2 * 16^(1/4)
    params = [torch.nn.Parameter(torch.zeros(2, 2)) for _ in range(2)]
    params[0].grad = torch.tensor([[8.0, 0.0], [0.0, 1.0]])
    params[1].grad = torch.eye(2)
    clip(params)
    # A spectral clamp on CPU is exact to 1e-4 of its bound.
    assert torch.allclose(params[0].grad, torch.tensor(wanted), atol=5e-4)
    assert torch.equal(params[1].grad, torch.eye(2)), "another matrix is left alone"


def test_the_rate_is_the_theorems():
    optimization = TheoremRate(sgd, steps=100, tail_index=1.5)
    optimizer = optimization.make_optimizer(Matrices(2, 2))
    optimization.make_schedule(optimizer, 7)
    rates = [group["lr"] for group in optimizer.param_groups]
    assert rates == pytest.approx([0.5 * 100 ** (-1.5 / 2.5)])


def test_the_scores_are_of_all_steps_and_an_outlier_weighs_least_when_clamped(tmp_path):
    found = {}
    for clipping in ("none", "clamp"):
        run = tmp_path / clipping
        quick = ("app.steps=40", "data.tail_index=1.3", f"clipping={clipping}")
        succeed("train", *PROBLEM, *quick, f"run_dir={run}")
        found[clipping] = metrics(run)
        halves = (found[clipping]["val_loss"] + found[clipping]["test"]["mean"]) / 2
        # The mean of the recorded losses, |X|^2 / 2 of all matrices, in float32.
        assert 2 * steps(run)["loss"].mean() == pytest.approx(halves, rel=1e-5)
    assert found["clamp"]["test"]["mean"] < found["none"]["test"]["mean"]
    assert found["none"]["status"] == "completed", "to fall short is a result here"


def test_what_was_counted_is_kept_with_the_weights(tmp_path):
    small, part = ("app.steps=5", "clipping=clamp"), tmp_path / "part"
    succeed("train", *PROBLEM, *small, "training.epochs=2", f"run_dir={tmp_path / 'whole'}")
    succeed("train", *PROBLEM, *small, "training.epochs=1", f"run_dir={part}")
    config = part / "config.yaml"
    config.write_text(config.read_text().replace("epochs: 1", "epochs: 2"))
    (part / "metrics.json").unlink()
    succeed("train", f"resume={part}")
    assert_same_run(tmp_path / "whole", part)


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("data.tail_index=1", "tail_index must be > 1 and <= 2, got 1"),
        ("data.floor=-1", "floor must be a finite number >= 0"),
        ("clipping.t=0", "t must be a number > 0"),
        ("clipping.rule=both", "'clamp', 'scale', 'norm' or 'element'"),
        ("app.matrices=1", "matrices=1"),
        ("data=rank_two", "data=rank_two: unknown; known: rank_one"),
    ],
)
def test_a_mistake_is_one_line(argument, expected, empty_folder):
    assert expected in refused("train", *PROBLEM, "clipping=clamp", argument)
