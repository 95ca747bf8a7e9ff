"""Collecting gradients: every way to hand parameters in gives the same gradients once each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import nn

from gradclip_core import ClipNorm
from gradclip_core.parts.collect import collect

Holding = Callable[..., list[nn.Parameter]]


def net_with_gradients() -> nn.Sequential:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2))
    net(torch.randn(5, 4)).pow(2).sum().backward()
    return net


def lookup(*tokens: int) -> nn.Embedding:
    """A sparse embedding whose gradient is uncoalesced where a token occurs twice."""
    embedding = nn.Embedding(5, 3, sparse=True)
    embedding(torch.tensor(tokens, dtype=torch.long)).pow(2).sum().backward()
    return embedding


WAYS: dict[str, Callable[[nn.Module], Any]] = {
    "module": lambda net: net,
    "optimizer": lambda net: torch.optim.SGD(net.parameters(), lr=1.0),
    "generator": lambda net: net.parameters(),
    "list": lambda net: list(net.parameters()),
    "named": lambda net: net.named_parameters(),
    "groups": lambda net: [{"params": [param]} for param in net.parameters()],
    "group of one tensor": lambda net: [{"params": param} for param in net.parameters()],
    "named group": lambda net: [{"params": list(net.named_parameters())}],
}


@pytest.mark.parametrize("way", WAYS)
def test_every_way_in_finds_the_same_gradients(way: str) -> None:
    net = net_with_gradients()
    found = collect(WAYS[way](net))
    assert [id(param) for param in found.params] == [id(param) for param in net.parameters()]
    assert [id(grad) for grad in found.grads] == [id(param.grad) for param in net.parameters()]


@pytest.mark.parametrize("way", ["module", "named", "named group"])
def test_names_are_kept(way: str) -> None:
    found = collect(WAYS[way](net_with_gradients()))
    assert found.names == ["0.weight", "0.bias", "2.weight", "2.bias"]


def test_an_optimizer_built_from_named_parameters_keeps_the_names() -> None:
    net = net_with_gradients()
    found = collect(torch.optim.AdamW(net.named_parameters()))
    assert found.name(2) == "2.weight"


def test_a_parameter_without_a_name_is_told_by_position_and_shape() -> None:
    assert collect(net_with_gradients().parameters()).name(1) == "parameter 1 of shape (3,)"


def test_one_tensor_alone(holding: Holding) -> None:
    (param,) = holding(torch.ones(2))
    assert collect(param).grads == [param.grad]


def test_groups_are_numbered() -> None:
    net = net_with_gradients()
    optimizer = torch.optim.SGD([{"params": net[2].parameters()}, {"params": net[0].parameters()}])
    assert collect(optimizer).groups == [0, 0, 1, 1]


def test_a_parameter_listed_twice_counts_once_where_torch_counts_it_twice(holding: Holding) -> None:
    (param,) = holding(torch.tensor([3.0, 4.0]))
    doubled = nn.utils.get_total_norm([g for g in (param.grad, param.grad) if g is not None])
    report = ClipNorm(1.0)([param, param])
    assert report.norm.item() == 5.0
    assert doubled.item() == pytest.approx(5.0 * 2**0.5)
    torch.testing.assert_close(param.grad, torch.tensor([0.6, 0.8]), rtol=1e-6, atol=0)


def test_tied_weights_count_once() -> None:
    net = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False))
    net[1].weight = net[0].weight
    assert len(collect([*net[0].parameters(), *net[1].parameters()]).params) == 1


def test_absent_and_empty_gradients_keep_their_positions(holding: Holding) -> None:
    first, empty, last = holding(torch.ones(2), torch.ones(0), torch.ones(3))
    absent = nn.Parameter(torch.zeros(4))
    found = collect([absent, first, empty, last])
    assert len(found.params) == 4
    assert found.present == [1, 3]


def test_a_sparse_gradient_is_coalesced_so_that_scaling_its_values_scales_it() -> None:
    embedding = lookup(1, 1, 4)
    before = embedding.weight.grad.to_dense()
    (values,) = collect(embedding).grads
    values.mul_(0.5)
    assert torch.equal(embedding.weight.grad.to_dense(), before * 0.5)


def test_a_sparse_gradient_without_entries_counts_as_absent() -> None:
    embedding = lookup()
    assert embedding.weight.grad is not None
    assert collect(embedding).present == []


def test_the_device_is_that_of_the_first_parameter_with_and_without_gradients() -> None:
    param = nn.Parameter(torch.zeros(2, device="meta"))
    assert collect([param]).device.type == "meta"
    with pytest.warns(UserWarning, match="^there are no parameters"):
        assert collect([]).device.type == "cpu"


def _numbers() -> Iterator[int]:
    yield 3


@pytest.mark.parametrize("wrong", [None, 3, "weights", {"w": torch.ones(1)}, [1.0], _numbers()])
def test_anything_else_is_refused_in_one_line(wrong: Any) -> None:
    with pytest.raises(TypeError, match="pass a module, an optimizer, tensors") as caught:
        collect(wrong)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("pair", [("w",), ("w", 3), (torch.ones(1), "w"), ["w", torch.ones(1)]])
def test_a_pair_must_be_a_name_and_a_tensor(pair: Any) -> None:
    with pytest.raises(TypeError, match="cannot take a gradient from"):
        collect([pair])


_NET = nn.Linear(2, 1)
_SGD = torch.optim.SGD(_NET.parameters())


@pytest.mark.parametrize(
    ("given", "cure"),
    [
        ([_NET, _NET], r"modules go into a torch\.nn\.ModuleList$"),
        ([_SGD, _SGD], "each optimizer takes a clipper of its own$"),
        (dict(_NET.named_parameters()), r"goes in as its items\(\)$"),
        (_NET.state_dict(), r"goes in as its items\(\)$"),
        (_SGD.param_groups[0], r"goes into a list, \[group\]$"),
        ([{"param": [*_NET.parameters()]}], "^parameter group 0 has no 'params', but param$"),
        (
            [{"params": [*_NET.parameters()], "param_names": ["weight"]}],
            "^parameter group 0 has 2 params and 1 param_names$",
        ),
        ([_NET.parameters(), _NET.parameters()], r"as one list, \[\*a, \*b\]$"),
        ([[*_NET.parameters()]], r"go in as one, \[\*a, \*b\]$"),
        (enumerate(_NET.parameters()), r"a pair is \(name, tensor\)$"),
        (_NET.parameters, "call it$"),
    ],
)
def test_what_was_meant_is_told(given: Any, cure: str) -> None:
    with pytest.raises((TypeError, ValueError), match=cure) as caught:
        collect(given)
    assert "\n" not in str(caught.value)
