"""Plain numbers of buffers: always those of the buffer that the module has now."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import nn

from gradclip_core import ClipNorm, Ema
from gradclip_core.parts.buffer_view import BufferView


class Holder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("row", torch.tensor([1.0, 2.0], dtype=torch.float64))
        self.register_buffer("count", torch.tensor(7))
        self.view = BufferView("row", "count")


def test_numbers_are_read_and_written() -> None:
    holder = Holder()
    row, count = holder.view(holder._buffers)
    row[1] = 5.0
    count[0] += 1
    assert holder.row.tolist() == [1.0, 5.0]
    assert holder.count.item() == 8


@pytest.mark.parametrize(
    "change",
    [
        lambda h: setattr(h, "row", torch.tensor([3.0, 4.0], dtype=torch.float64)),
        lambda h: setattr(h.row, "data", torch.tensor([3.0, 4.0], dtype=torch.float64)),
        lambda h: h.load_state_dict({"row": torch.tensor([3.0, 4.0]), "count": torch.tensor(7)}),
        lambda h: (h.row.copy_(torch.tensor([3.0, 4.0])), h.share_memory()),
        lambda h: (h.row.copy_(torch.tensor([3.0, 4.0])), h.float()),
    ],
    ids=["replaced", "data", "loaded", "shared", "float"],
)
def test_a_buffer_that_was_replaced_or_moved_is_looked_up_again(change: object) -> None:
    holder = Holder()
    holder.view(holder._buffers)
    change(holder)  # type: ignore[operator]
    row, _ = holder.view(holder._buffers)
    assert list(row) == [3.0, 4.0]
    row[0] = 9.0
    assert holder.row[0].item() == 9.0


@pytest.mark.parametrize("way", [copy.deepcopy, lambda h: pickle.loads(pickle.dumps(h))])
def test_a_copy_has_numbers_of_its_own(way: object) -> None:
    holder = Holder()
    holder.view(holder._buffers)
    other = way(holder)  # type: ignore[operator]
    other.view(other._buffers)[0][0] = 50.0
    assert holder.row[0].item() == 1.0
    assert other.row[0].item() == 50.0


def test_a_copied_clipper_goes_its_own_way() -> None:
    param = nn.Parameter(torch.zeros(2))
    param.grad = torch.tensor([3.0, 4.0])
    clipper = ClipNorm(Ema())
    clipper([param])
    other = copy.deepcopy(clipper)
    param.grad = torch.tensor([30.0, 40.0])
    other([param])
    assert (clipper.steps.item(), other.steps.item()) == (1, 2)
    assert clipper.threshold.mean.item() == pytest.approx(5.0)
    assert other.threshold.mean.item() > 5.0


def test_a_buffer_elsewhere_is_refused() -> None:
    holder = Holder().to("meta")
    with pytest.raises(ValueError, match="'row' is not contiguous or not on the CPU"):
        holder.view(holder._buffers)
