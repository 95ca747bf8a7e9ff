"""Candidates: their three forms agree, and a replay is what the clipper itself would do."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import nn

import gradclip_core
from gradclip_core.advice import Advisor
from gradclip_core.advice.advice import make_advice
from gradclip_core.advice.candidates import LAST_LAYERS, Candidate, attempt, candidates
from gradclip_core.advice.record import Record
from tests.core.advice.records import lognormal, record_of
from tests.presets import preset


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 6))
        self.head = nn.Linear(6, 1)


def gradients(steps: int = 80) -> list[list[torch.Tensor]]:
    """Gradients of `Net` whose size varies a lot, and a net that holds none."""
    generator = torch.Generator().manual_seed(0)
    scales = (1.5 * torch.randn(steps, generator=generator)).exp()
    return [
        [scale * torch.randn(param.shape, generator=generator) for param in make_net().parameters()]
        for scale in scales
    ]


def make_net() -> Net:
    torch.manual_seed(0)
    return Net()


def set_gradients(net: nn.Module, values: list[torch.Tensor]) -> None:
    for param, value in zip(net.parameters(), values, strict=True):
        param.grad = value.clone()


def recorded() -> Record:
    advisor, net = Advisor(), make_net()
    for values in gradients():
        set_gradients(net, values)
        advisor(net)
    return advisor.record


RECORD = recorded()
CANDIDATES = candidates(RECORD)
every = pytest.mark.parametrize("candidate", CANDIDATES, ids=lambda candidate: candidate.line)


def test_all_kinds_are_there() -> None:
    assert {candidate.settings.get("by", "model") for candidate in CANDIDATES} == {
        "model",
        "module",
        "parameter",
        "row",
    }


@every
def test_the_replay_clips_what_the_clipper_clips(candidate: Candidate) -> None:
    clipper, net, clipped, least = candidate.clipper(), make_net(), 0, 1.0
    for values in gradients():
        set_gradients(net, values)
        report = clipper(net)
        clipped += bool(report.clipped)
        factors = torch.where(report.over, report.thresholds / report.norms, 1.0)
        least = min(least, float(factors.min()))
    trial = attempt(candidate, RECORD)
    assert trial.clipped_steps == clipped / len(RECORD.norms)
    assert trial.coefficient == pytest.approx(least)


@every
def test_line_code_and_object_are_one_rule(candidate: Candidate) -> None:
    by_code = eval(candidate.code, vars(gradclip_core).copy())
    choice, *overrides = candidate.line.split()
    config = preset(choice.removeprefix("clipping="))
    dotted = [override.removeprefix("clipping.") for override in overrides]
    by_line = instantiate(OmegaConf.merge(config, OmegaConf.from_dotlist(dotted)))
    results = []
    for clipper in (candidate.clipper(), by_code, by_line):
        net = make_net()
        for values in gradients(40):
            set_gradients(net, values)
            clipper(net)
        results.append([param.grad for param in net.parameters()])
    for other in results[1:]:
        torch.testing.assert_close(other, results[0], rtol=0, atol=0)


def test_a_band_lies_where_one_norm_in_ten_is_above_and_one_below() -> None:
    record = record_of(lognormal(400, sd=0.5))
    (found,) = [c for c in candidates(record) if c.strategy == "aggc"]
    ratios, mean, past = [], 0.0, 0.0
    for norm in record.norms.tolist():  # both modules have the same share of every norm
        if past:
            ratios.append(norm * (1 - 0.95**past) / mean)
        past += 1
        mean = 0.95 * mean + 0.05 * norm
    high, low = np.quantile(ratios, [0.9, 0.1])
    # The settings have three digits.
    assert found.arguments["factor"] == pytest.approx(high, rel=5e-3)
    assert found.band["lower"] == pytest.approx(low / high, rel=5e-3)
    assert found.line.startswith(f"clipping=aggc clipping.max_norm.threshold.factor={high:.3g} ")
    trial = attempt(found, record)
    # Norms that are lifted and cut by a tenth at most move the average but little.
    assert trial.clipped_steps == pytest.approx(0.1, abs=0.05)


def test_no_band_where_modules_are_unknown() -> None:
    record = record_of(lognormal())
    bare = replace(record, modules={name: (i,) for i, name in enumerate(record.names)})
    assert not [c for c in candidates(bare) if c.strategy == "aggc"]


def test_the_layers_that_agc_leaves_alone_are_those_of_its_preset() -> None:
    assert preset("agc").exclude == LAST_LAYERS


def test_plain_values_are_strict_json() -> None:
    found = make_advice(RECORD, None).as_dict()
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["clipping"].startswith("clipping=")
    assert len(found["candidates"]) >= len(CANDIDATES)
    assert {part["name"] for part in found["modules"]} == {"body", "head"}
