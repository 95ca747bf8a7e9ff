"""Gradients of every kind there is: those that are clipped, and those that are refused."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

Params = list[tuple[str, Tensor]]


class Named(Tensor):
    """A subclass that holds its numbers itself."""


class Wrapper(Tensor):
    """A subclass whose numbers lie in another tensor."""

    inner: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor) -> Wrapper:
        made: Wrapper = Tensor._make_wrapper_subclass(cls, inner.shape, dtype=inner.dtype)  # type: ignore[attr-defined]
        made.inner = inner
        return made

    @classmethod
    def __torch_dispatch__(
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:  # pragma: no cover
        """Every operation on the inner tensor, and its result plain."""
        plain = torch.utils._pytree.tree_map_only(cls, lambda t: t.inner, (args, kwargs or {}))
        return func(*plain[0], **plain[1])


def given(*grads: Tensor) -> Params:
    """Parameters named a, b, ... with these gradients, as they are."""
    params: Params = []
    for name, grad in zip("abcdef", grads, strict=False):
        if grad.layout in (torch.strided, torch.sparse_coo):
            param = torch.empty(grad.shape, dtype=grad.dtype, device=grad.device)
        else:
            param = grad.clone()
        param.grad = grad
        params.append((name, param))
    return params


def numbers(*shape: int) -> Tensor:
    """Distinct numbers of both signs."""
    count = int(torch.tensor(shape).prod())
    return (torch.arange(count, dtype=torch.float32) - count / 3).view(shape) / count


def shrunk(elements: int, left: int) -> Tensor:
    """A tensor whose storage was cut."""
    tensor = numbers(elements)
    tensor.untyped_storage().resize_(4 * left)
    return tensor


def misaligned() -> Tensor:
    """Floats that begin at an odd address."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tensor = torch.frombuffer(bytearray(4 * 512 + 1), dtype=torch.float32, offset=1)
    return tensor.copy_(numbers(512))


def inference(make: Callable[[], Tensor]) -> Tensor:
    """A tensor made in inference mode."""
    with torch.inference_mode():
        return make()


def with_graph() -> Params:
    """Gradients that have a graph of their own."""
    net = nn.Linear(4, 3)
    with torch.no_grad():
        net.weight.copy_(numbers(3, 4))
        net.bias.copy_(numbers(3))
    loss = net(numbers(2, 4)).pow(3).sum()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loss.backward(create_graph=True)
    return list(net.named_parameters())


def frozen_first(device: str) -> Params:
    """A parameter without a gradient, elsewhere, before one that has a gradient."""
    return [("frozen", nn.Parameter(torch.zeros(4, device=device), False)), *given(numbers(6))]


def fake() -> Params:
    """A gradient as torch.compile traces it."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        return given(torch.ones(3))


def in_vmap(clip: Callable[[Params], Any]) -> Any:
    """Clip inside of torch.func.vmap."""
    return torch.func.vmap(lambda grad: (clip(given(grad)), grad)[1])(numbers(2, 3))


def in_grad(clip: Callable[[Params], Any]) -> Any:
    """Clip inside of torch.func.grad."""

    def function(grad: Tensor) -> Tensor:
        clip([("a", _with_grad(torch.zeros(3), grad))])
        return grad.sum()

    return torch.func.grad(function)(numbers(3))


def _with_grad(param: Tensor, grad: Tensor) -> Tensor:
    param.grad = grad
    return param


def sparse(*rows: int) -> Tensor:
    """The gradient of an embedding, not coalesced."""
    values = numbers(len(rows), 3) if rows else torch.zeros(0, 3)
    where = torch.tensor([rows], dtype=torch.long)
    return torch.sparse_coo_tensor(where, values, (5, 3), check_invariants=True)


def channels_last(*shape: int) -> Tensor:
    """A tensor in another order in memory."""
    return numbers(*shape).contiguous(memory_format=torch.channels_last)


# The gradients that are clipped rightly, whatever the rule.
TAKEN: dict[str, Callable[[], Params]] = {
    "plain": lambda: given(numbers(3, 4), numbers(4)),
    "channels last": lambda: given(channels_last(4, 3, 5, 5), numbers(4)),
    "large channels last": lambda: given(channels_last(40, 30, 8, 8), channels_last(40, 30, 8, 8)),
    "two dtypes, channels last": lambda: given(
        channels_last(2, 3, 4, 4), channels_last(2, 3, 4, 4).double()
    ),
    "transposed": lambda: given(numbers(3, 4).t()),
    "large transposed": lambda: given(numbers(300, 400).t()),
    "permuted": lambda: given(numbers(3, 4, 5).permute(1, 2, 0)),
    "every second": lambda: given(numbers(20)[::2]),
    "large every second": lambda: given(numbers(200_000)[::2]),
    "columns of one matrix": lambda: given(*numbers(50, 3).unbind(1)),
    "pieces of one vector": lambda: given(*numbers(30).split([11, 9, 10])),
    "with gaps": lambda: given(torch.as_strided(numbers(30), (3, 4), (9, 2))),
    "interlaced": lambda: given(torch.as_strided(numbers(30), (3, 2), (2, 3))),
    "scalar": lambda: given(torch.tensor(3.0), numbers(2)),
    "empty beside": lambda: given(torch.zeros(0, 3), numbers(4)),
    "offset of one": lambda: given(numbers(700)[1:]),
    "misaligned": lambda: given(misaligned()),
    "half": lambda: given(numbers(300).half(), numbers(4).half()),
    "bfloat16": lambda: given(numbers(300).bfloat16()),
    "mixed dtypes": lambda: given(numbers(30).half(), numbers(40), numbers(5).double()),
    "negative bit": lambda: given(torch._neg_view(numbers(6))),
    "imaginary part": lambda: given(torch.complex(numbers(6), numbers(6)).conj().imag),
    "subclass": lambda: given(numbers(6).as_subclass(Named)),
    "parameter": lambda: given(nn.Parameter(numbers(6))),
    "requires grad": lambda: given(numbers(6).requires_grad_()),
    "with graph": with_graph,
    "inference": lambda: given(inference(lambda: numbers(6)), numbers(4)),
    "inference in two dtypes": lambda: given(inference(lambda: numbers(6).half()), numbers(4)),
    "view of inference": lambda: given(inference(lambda: numbers(12))[::2]),
    "frozen on meta": lambda: frozen_first("meta"),
    "sparse": lambda: given(sparse(4, 1, 4), numbers(4)),
    "no rows": lambda: given(sparse(), numbers(4)),
}
# Those that ClipValue cannot take: they have no order.
COMPLEX: dict[str, Callable[[], Params]] = {
    "complex": lambda: given(torch.complex(numbers(6), 2 * numbers(6)), numbers(4)),
    "conjugate": lambda: given(torch.complex(numbers(6), 2 * numbers(6)).conj()),
}
# Those that no rule can take, and the words that the one line of the error has.
REFUSED: dict[str, tuple[Callable[[], Params], str]] = {
    "cpu, then meta": (
        lambda: given(numbers(4), torch.ones(4, device="meta")),
        "of b is on .*meta",
    ),
    "meta, then cpu": (
        lambda: given(torch.ones(4, device="meta"), numbers(4)),
        "of a is on .*meta",
    ),
    "fake": (fake, "of a is a FakeTensor"),
    "wrapper": (lambda: given(numbers(3), Wrapper(numbers(4))), "of b is a Wrapper"),
    "expanded": (lambda: given(numbers(4), torch.ones(1).expand(5)), "of b share memory"),
    "overlapping": (
        lambda: given(torch.as_strided(numbers(9), (3, 3), (1, 1))),
        "of the gradient of a share memory",
    ),
    "no storage left": (lambda: given(numbers(3), shrunk(4000, 0)), "of b has .* a storage of 0"),
    "little storage left": (lambda: given(shrunk(4000, 10), numbers(3)), "of a has .* of 40"),
    "a strided view of little": (
        lambda: given(_shrunk_transposed()),
        "of a has .* a storage of 40",
    ),
    "a piece beyond the end": (
        lambda: given(torch.as_strided(numbers(8), (4,), (1,), 4), _cut_piece()),
        "of b has .* a storage of 20",
    ),
    "zeros without memory": (lambda: given(torch._efficientzerotensor(3)), "of a has .* of 0"),
    "one tensor twice": (lambda: given(*[numbers(4)] * 2), "of a and b share memory"),
    "pieces that overlap": (lambda: _overlapping_pieces(), "of b and c share memory"),
    "a half seen as another dtype": (lambda: _as_other_dtype(), "of a and b share memory"),
    "integers": (lambda: given(torch.arange(4)), "of a has the dtype torch.int64"),
    "booleans": (lambda: given(numbers(3), torch.ones(4) > 0), "of b has the dtype torch.bool"),
    "float8": (lambda: given(torch.ones(4).to(torch.float8_e4m3fn)), "dtype torch.float8_e4m3fn"),
    "half complex": (lambda: given(torch.ones(4).to(torch.complex32)), "dtype torch.complex32"),
    "csr": (lambda: given(torch.eye(3).to_sparse_csr()), "of a is of layout torch.sparse_csr"),
    "mkldnn": (lambda: given(torch.eye(3).to_mkldnn()), "of a is of layout torch._mkldnn"),
    "jagged": (lambda: given_nested(), "of a is a NestedTensor"),
}
INSIDE: dict[str, Callable[[Callable[[Params], Any]], Any]] = {"vmap": in_vmap, "grad": in_grad}


def _shrunk_transposed() -> Tensor:
    tensor = numbers(2000, 2000).t()
    tensor.untyped_storage().resize_(40)
    return tensor


def _cut_piece() -> Tensor:
    piece = numbers(8)[4:]
    piece.untyped_storage().resize_(20)
    return piece


def _overlapping_pieces() -> Params:
    memory = numbers(10)
    return given(numbers(3), memory[:6], memory[5:])


def _as_other_dtype() -> Params:
    memory = numbers(10)
    return given(memory[:6], memory.view(torch.float64)[2:])


def given_nested() -> Params:
    """A ragged gradient."""
    nested = torch.nested.nested_tensor([torch.ones(2), torch.ones(3)], layout=torch.jagged)
    param = nested.clone()
    param.grad = nested
    return [("a", param)]
