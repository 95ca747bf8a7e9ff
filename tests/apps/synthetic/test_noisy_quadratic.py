"""The noisy quadratic: its noise, its gradient, its clipping, its runs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from apps.base.task import Optimization
from apps.synthetic.noisy_quadratic.clipping import Growing, cclip, gclip
from apps.synthetic.noisy_quadratic.noise import Noise
from apps.synthetic.noisy_quadratic.task import Points, QuadraticTask
from tests.apps.runs import metrics, steps
from tests.conftest import refused, succeed

PROBLEM = ("experiment=heavy_tails", "logger=none")
LAWS = {
    "pareto": stats.pareto(1.5, loc=-3.0),
    "student_t": stats.t(1.5),
    "stable": stats.levy_stable(1.5, 0.0),
}


@pytest.mark.parametrize("kind", LAWS)
def test_noise_has_the_law_that_it_says(kind):
    drawn = Noise(kind, 1.5, scale=2.0).draw(np.random.default_rng(0), (40, 50)) / 2.0
    law = LAWS[kind]
    assert drawn.shape == (40, 50)
    if kind == "stable":  # its distribution function is slow; quantiles of a table will do
        assert np.quantile(drawn, [0.25, 0.75]) == pytest.approx([-0.969, 0.969], abs=0.12)
    else:
        assert stats.kstest(drawn.ravel(), law.cdf).pvalue > 0.01
        assert law.mean() == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("kind", LAWS)
def test_noise_has_the_tail_that_it_says(kind):
    sizes = np.sort(np.abs(Noise(kind, 1.5).draw(np.random.default_rng(1), (100_000,))))
    tail = sizes[-1_000:]
    hill = 1.0 / np.log(tail / tail[0])[1:].mean()
    assert hill == pytest.approx(1.5, abs=0.15)


def quadratic_task(points):
    net = Points(*points.shape)
    net.points.data.copy_(points)
    return QuadraticTask(net, Optimization(lambda groups: torch.optim.SGD(groups, lr=0.1)))


def test_the_gradient_is_noisy_and_the_loss_is_not():
    points, noise = torch.randn(5, 3), torch.randn(5, 3)
    task = quadratic_task(points)
    loss = task.loss(noise)
    loss.backward()
    assert loss.item() == pytest.approx(0.5 * points.square().sum(1).mean().item(), rel=1e-6)
    assert torch.allclose(task.net.points.grad, points + noise, atol=1e-6)
    assert task.validation_loss(noise).item() == pytest.approx(
        0.5 * points.square().sum(1).median().item()
    )


def test_gclip_bounds_each_replication_and_cclip_each_coordinate_by_a_growing_bound():
    for k in (1, 8, 27):
        bound = 2.0 * k ** (1 / 1.5)
        for clipper, order in ((gclip(2.0, 1.5), 2.0), (cclip(2.0, 1.5), float("inf"))):
            for _ in range(k):
                param = torch.nn.Parameter(torch.zeros(3, 4))
                param.grad = torch.tensor([[0.1], [1.0], [1e4]]).expand(3, 4).clone()
                before = param.grad.clone()
                clipper([param])
            norms = torch.linalg.vector_norm(param.grad, order, dim=1)
            assert torch.equal(param.grad[0], before[0]), "small replications are left alone"
            assert norms[2].item() == pytest.approx(bound, rel=1e-5)


def test_growing_goes_on_after_loading():
    first, second = Growing(2.0, 1.5), Growing(2.0, 1.5)
    clipper = gclip(2.0, 1.5)
    param = torch.nn.Parameter(torch.zeros(1, 1))
    param.grad = torch.ones(1, 1)
    clipper([param])
    first.step.fill_(7)
    second.load_state_dict(first.state_dict())
    assert second.step == 7
    assert clipper.state_dict(), "the step is part of the clipper's state"


@pytest.mark.parametrize(("threshold", "alpha"), [(0.0, 1.5), (1.0, 1.0), (1.0, 2.1)])
def test_growing_refuses(threshold, alpha):
    with pytest.raises(ValueError, match="must be"):
        Growing(threshold, alpha)


def test_clipped_descent_ends_lower_on_average_and_the_mean_of_plain_descent_is_one_run(tmp_path):
    found = {}
    for clipping in ("none", "gclip", "cclip"):
        run = tmp_path / clipping
        quick = ("data.tail_index=1.3", "training.epochs=2", "app.steps_per_epoch=100")
        succeed("train", *PROBLEM, *quick, f"clipping={clipping}", f"run_dir={run}")
        found[clipping] = metrics(run)["test"]
    assert found["gclip"]["mean"] < 0.3 * found["none"]["mean"]
    assert found["cclip"]["mean"] < found["gclip"]["mean"]
    assert found["none"]["largest_share"] > 20 > found["gclip"]["largest_share"]
    losses = steps(tmp_path / "none")["loss"]
    assert losses[0] == pytest.approx(0.5 * 10 * 3.0**2), "the loss of a step has no noise"


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("data.tail_index=1", "tail_index must be > 1 and <= 2, got 1"),
        ("data.scale=0", "scale must be a finite number > 0"),
        ("data.kind=cauchy", "'pareto', 'student_t' or 'stable'"),
        ("app.replications=0", "replications=0"),
        ("data=cauchy", "data=cauchy: unknown; known: pareto, stable, student_t"),
    ],
)
def test_a_mistake_is_one_line(argument, expected, empty_folder):
    assert expected in refused("train", *PROBLEM, argument)
