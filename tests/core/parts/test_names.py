"""Names mean the same under any wrapper, and a pattern that means nothing is refused."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import distributed as dist
from torch import nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper
from torch.optim.swa_utils import AveragedModel

from gradclip_core import (
    ByName,
    Chain,
    ClipNorm,
    Clipper,
    ClipPerSample,
    ClipUpdate,
    ClipValue,
    Median,
    UClip,
    clip_in_step,
)
from gradclip_core.functional import clip_gradients
from gradclip_core.optimizers import SGD
from gradclip_core.parts.names import names_of, plain_names

PLAIN = ["body.weight", "body.bias", "head.weight", "head.bias"]


def net() -> nn.Module:
    return nn.ModuleDict({"body": nn.Linear(2, 2), "head": nn.Linear(2, 1)})


class Opacus(nn.Module):
    """Names as `opacus.GradSampleModule` makes them."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self._module = module


class Fabric(Opacus):
    """Names as Lightning Fabric makes them."""

    def __init__(self, module: nn.Module) -> None:
        nn.Module.__init__(self)
        self._forward_module = module


def inner_checkpoint(module: nn.Module) -> nn.Module:
    """One submodule wrapped, somewhere inside."""
    owner = next(m for m in module.modules() if isinstance(m, nn.ModuleDict))
    owner["head"] = checkpoint_wrapper(owner["head"])
    return module


WRAPPERS: dict[str, Callable[[nn.Module], nn.Module]] = {
    "compiled": lambda m: torch.compile(m, backend="eager"),
    "parallel": nn.DataParallel,
    "checkpointed": checkpoint_wrapper,
    "checkpointed inside": inner_checkpoint,
    "averaged": AveragedModel,
    "opacus": Opacus,
    "fabric": Fabric,
}
ORDERS = [(), *itertools.permutations(WRAPPERS, 1), *itertools.permutations(WRAPPERS, 2)]


def wrapped(order: tuple[str, ...]) -> nn.Module:
    module = net()
    for wrapper in order:
        module = WRAPPERS[wrapper](module)
    for param in module.parameters():
        param.grad = torch.ones_like(param)
    return module


RULES: dict[str, Callable[[], Clipper]] = {
    "exclude": lambda: ClipNorm(0.1, exclude="^head"),
    "elements": lambda: ClipValue(0.1, exclude="^head"),
    "parts": lambda: ClipNorm(0.1, by={"head": "^head"}),
    "learnt parts": lambda: ClipNorm(Median(), by={"head": "^head", "body": "^body"}),
    "modules": lambda: ClipNorm(0.1, by="module"),
    "by name": lambda: ByName({"^head": ClipNorm(0.1)}),
    "chain": lambda: Chain([ClipNorm(0.1, exclude="^head"), ClipValue(1.0)]),
    "u-clip": lambda: UClip(ClipNorm(0.1, exclude="^head")),
}


@pytest.mark.parametrize("order", ORDERS, ids="-".join)
@pytest.mark.parametrize("named", [False, True])
def test_a_pattern_means_the_same_under_every_wrapper(order: tuple[str, ...], named: bool) -> None:
    for make in RULES.values():
        bare, other = wrapped(()), wrapped(order)
        wanted = make()(bare)
        report = make()(other.named_parameters() if named else other)
        assert list(report.names) == list(wanted.names)
        assert report.norms.tolist() == wanted.norms.tolist()
        for a, b in zip(bare.parameters(), other.parameters(), strict=True):
            torch.testing.assert_close(b.grad, a.grad, rtol=0, atol=0)


@pytest.mark.parametrize("order", ORDERS[: len(WRAPPERS) + 1], ids="-".join)
def test_twins_hooks_and_attached_models_see_the_same_names(order: tuple[str, ...]) -> None:
    module = wrapped(order)
    named = SGD(module.named_parameters(), lr=0.1, clipper=ClipNorm(0.1, exclude="^head"))
    attached = torch.optim.SGD(module.parameters(), lr=0.1)
    clip_in_step(attached, ClipNorm(0.1, exclude="^head")).attach(model=module)
    for optimizer in (named, attached):
        for name, param in zip(PLAIN, module.parameters(), strict=True):
            param.grad = torch.full_like(param, 100.0 if name.startswith("head") else 1.0)
        optimizer.step()
        sizes = [float(param.grad.abs().max()) for param in module.parameters()]
        assert sizes[2:] == [100.0, 100.0]
        assert max(sizes[:2]) < 0.1


def test_ddp_puts_nothing_into_names(tmp_path: Any) -> None:
    store = dist.FileStore(str(tmp_path / "store"), 1)
    dist.init_process_group("gloo", rank=0, world_size=1, store=store)
    try:
        ddp = nn.parallel.DistributedDataParallel(net())
        task = nn.ModuleDict({"encoder": ddp, "extra": nn.Linear(1, 1)})
        assert names_of(ddp) == PLAIN
        assert names_of(torch.compile(ddp, backend="eager")) == PLAIN
        assert names_of(task)[:4] == [f"encoder.{name}" for name in PLAIN]
    finally:
        dist.destroy_process_group()


def test_a_submodule_of_the_users_called_module_keeps_its_name() -> None:
    model = nn.ModuleDict({"module": nn.Linear(1, 1), "head": nn.Linear(1, 1)})
    wanted = ["module.weight", "module.bias", "head.weight", "head.bias"]
    assert names_of(model) == names_of(nn.DataParallel(model)) == wanted
    # A part of such a model, whose names all begin alike, is still that of the model.
    for param in model.parameters():
        param.grad = torch.ones_like(param)
    optimizer = torch.optim.SGD(model["module"].parameters(), lr=0.1)
    hook = clip_in_step(optimizer, ClipNorm(1.0)).attach(model=model)
    optimizer.step()
    assert hook.last_report is not None
    assert list(hook.last_report.names) == wanted[:2]


WRAPPING = ["_orig_mod", "_checkpoint_wrapped_module", "_fsdp_wrapped_module", "_fpw_module"]


@given(st.data())
def test_components_of_wrappers_go_wherever_they_stand(data: st.DataObject) -> None:
    names = []
    for name in PLAIN:
        pieces = name.split(".")
        for piece in data.draw(st.lists(st.sampled_from(WRAPPING), max_size=3)):
            pieces.insert(data.draw(st.integers(0, len(pieces) - 1)), piece)
        names.append(".".join(pieces))
    start = data.draw(st.sampled_from(["", "module.", "module.module.", "_module.module."]))
    assert plain_names([start + name for name in names]) == PLAIN


def test_names_of_samples_and_of_gradients_given_by_name_are_plain() -> None:
    model = torch.compile(nn.Linear(2, 1), backend="eager")
    clipper = ClipPerSample(1.0).attach(model=model)
    clipper.backward(lambda batch: model._orig_mod(batch).mean(), torch.ones(2, 2))
    assert list(clipper(model).names) == ["weight", "bias"]
    grads = {"_orig_mod.head": torch.ones(2), "_orig_mod.body": torch.ones(2)}
    after = clip_gradients(grads, ClipNorm(0.1, exclude="^head"))
    assert after["_orig_mod.head"].tolist() == [1.0, 1.0]
    assert after["_orig_mod.body"][0] < 0.1


MISSPELT: dict[str, tuple[Callable[[], Clipper], str]] = {
    "exclude": (lambda: ClipNorm(1.0, exclude="^haed"), "exclude='^haed'"),
    "by": (lambda: ClipNorm(1.0, by={"top": "^haed"}), r"by\['top'\]='^haed'"),
    "taken": (lambda: ClipNorm(1.0, by={"all": "", "top": "^head"}), r"by\['top'\].*before it"),
    "value": (lambda: ClipValue(1.0, exclude="^haed"), "exclude='^haed'"),
    "rules": (lambda: ByName({"^haed": ClipNorm(1.0)}), "pattern '^haed'"),
    "inside": (lambda: Chain([ClipNorm(1.0, exclude="^haed")]), "exclude='^haed'"),
    "inside by name": (
        lambda: ByName({"^head": ClipNorm(1.0, exclude="^haed")}),
        "exclude='^haed'",
    ),
    "update": (lambda: ClipUpdate(1.0, exclude="^haed"), "exclude='^haed'"),
}


@pytest.mark.parametrize("case", MISSPELT)
@pytest.mark.parametrize("attached", [False, True])
def test_a_pattern_without_a_parameter_is_refused_with_the_names(case: str, attached: bool) -> None:
    make, message = MISSPELT[case]
    model, clipper = wrapped(("compiled",)), make()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    before = [param.grad.clone() for param in model.parameters()]
    wanted = message.replace("^", r"\^") + r".*head\.bias"
    if clipper.acts_in_step and not attached:
        clipper.attach(optimizer=optimizer)
    with pytest.raises(ValueError, match=wanted):
        clipper.attach(model=model, optimizer=optimizer) if attached else clipper(model)
    after = [param.grad for param in model.parameters()]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_many_names_are_cut_short() -> None:
    model = nn.Sequential(*(nn.Linear(1, 1) for _ in range(20)))
    with pytest.raises(ValueError, match=r"0\.weight.*\(28 more\).*19\.bias") as caught:
        ClipNorm(1.0, exclude="^head").attach(model=model)
    assert len(str(caught.value)) < 400


def test_patterns_are_looked_for_among_all_known_parameters_once() -> None:
    model = net()
    model["head"].requires_grad_(False)
    model["body"].weight.grad = torch.ones(2, 2)
    clipper = ClipNorm(0.1, exclude="^head")
    clipper(model)  # frozen, without a gradient, and there
    trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    clipper(trained)  # and later left out
    attached = ClipNorm(0.1, exclude="^head").attach(model=model)
    attached(trained)
    with pytest.raises(ValueError, match="exclude"):
        copy.deepcopy(clipper)(trained)  # a copy serves whatever it is given first


def test_two_optimizers_of_one_model_may_have_one_pattern() -> None:
    model = net()
    for part in model.values():
        optimizer = torch.optim.SGD(part.parameters(), lr=0.1)
        clip_in_step(optimizer, ClipNorm(0.1, exclude="^head")).attach(model=model)
        for param in part.parameters():
            param.grad = torch.ones_like(param)
        optimizer.step()


def test_unnamed_parameters_have_no_pattern() -> None:
    model = wrapped(())
    for settings in ({"exclude": "^head"}, {"by": {"head": "^head"}}):
        with pytest.raises(ValueError, match="needs parameter names"):
            ClipNorm(1.0, **settings)(list(model.parameters()))  # type: ignore[arg-type]


def test_an_optional_pattern_may_match_nothing() -> None:
    for model, left_alone in ((nn.Linear(2, 1), 0), (wrapped(()), 2)):
        for param in model.parameters():
            param.grad = torch.ones_like(param)
        ClipNorm(0.1, exclude="(?#optional)^head")(model)
        assert sum(bool((param.grad == 1).all()) for param in model.parameters()) == left_alone
    rules = {"(?#optional)^haed": ClipNorm(0.1), "^head": ClipNorm(0.2)}
    assert len(ByName(rules)(wrapped(())).stages) == 3
    by = {"top": "(?#optional)^haed", "head": "^head"}
    assert len(ClipNorm(1.0, by=by)(wrapped(())).norms) == 2
