"""The networks against packed sequences, and utterances alone against those in a batch."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from apps.speech.model import (
    ConformerCTC,
    ConvolutionalCTC,
    RecurrentCTC,
    RecurrentLayer,
    turned,
    within,
)

SIZES = {"num_inputs": 12, "num_stacked": 3, "num_outputs": 5}
EXACT = [
    (RecurrentCTC, {"cell": "lstm"}),
    (RecurrentCTC, {"cell": "gru", "num_layers": 1}),
    (RecurrentCTC, {"bidirectional": False}),
    (ConvolutionalCTC, {"channels": 4}),
]
CONFORMER = (ConformerCTC, {"width": 8, "num_heads": 2, "num_layers": 2, "kernel": 3})


def make(kind, settings):
    torch.manual_seed(0)
    small = {} if kind is ConformerCTC else {"hidden_size": 6}
    return kind(**SIZES, **small, **settings)


@settings(deadline=None, max_examples=30)
@given(
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=5),
    cell=st.sampled_from(["lstm", "gru"]),
)
def test_a_layer_equals_packed_sequences_with_their_gradients(lengths, cell):
    torch.manual_seed(0)
    layer = RecurrentLayer(cell, 3, 4, bidirectional=True)
    oracle = (nn.LSTM if cell == "lstm" else nn.GRU)(3, 4, batch_first=True, bidirectional=True)
    forward, backward = (dict(way.named_parameters()) for way in layer.ways)
    with torch.no_grad():
        for name, param in oracle.named_parameters():
            source = backward if name.endswith("_reverse") else forward
            param.copy_(source[name.removesuffix("_reverse")])
    frames, sizes = torch.randn(len(lengths), max(lengths), 3), torch.tensor(lengths)
    packed = pack_padded_sequence(frames, sizes, batch_first=True, enforce_sorted=False)
    expected, _ = pad_packed_sequence(oracle(packed)[0], batch_first=True)
    kept = within(sizes, max(lengths))[..., None]
    found = layer(frames, sizes) * kept
    torch.testing.assert_close(found, expected * kept, atol=1e-6, rtol=1e-5)
    found.square().sum().backward()
    (expected * kept).square().sum().backward()
    torch.testing.assert_close(
        forward["weight_hh_l0"].grad, oracle.weight_hh_l0.grad, atol=1e-5, rtol=1e-4
    )
    torch.testing.assert_close(
        backward["weight_ih_l0"].grad, oracle.weight_ih_l0_reverse.grad, atol=1e-5, rtol=1e-4
    )


@given(st.lists(st.integers(1, 7), min_size=1, max_size=4))
def test_turning_twice_changes_nothing(lengths):
    sequences = torch.arange(len(lengths) * 8.0).reshape(len(lengths), 8, 1)
    sizes = torch.tensor(lengths)
    once = turned(sequences, sizes)
    assert turned(once, sizes).equal(sequences)
    for one, before, length in zip(once, sequences, lengths, strict=True):
        assert one[:length].equal(before[:length].flip(0))
        assert one[length:].equal(before[length:])


@pytest.mark.parametrize(("kind", "settings"), EXACT)
def test_padding_changes_no_score(kind, settings):
    net = make(kind, settings).eval()
    lengths = torch.tensor([9, 5, 1])
    frames = torch.randn(3, 9, 12)
    batched = net(frames, lengths)
    for number, length in enumerate(lengths.tolist()):
        alone = net(frames[number : number + 1, :length], lengths[number : number + 1])
        torch.testing.assert_close(batched[number, :length], alone[0], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("kind", "settings"), [*EXACT, CONFORMER])
def test_shapes_and_every_parameter_takes_part(kind, settings):
    net = make(kind, settings)
    out = net(torch.randn(2, 9, 12), torch.tensor([9, 6]))
    assert out.shape == (2, 9, 5)
    out.square().sum().backward()
    silent = [n for n, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    # A bias that batch or layer normalisation takes away again has a gradient of zero.
    assert all("bias" in name for name in silent), silent


def test_a_one_way_network_does_not_look_ahead():
    net = make(RecurrentCTC, {"bidirectional": False}).eval()
    frames = torch.randn(1, 9, 12, requires_grad=True)
    net(frames, torch.tensor([9]))[0, 4].sum().backward()
    reached = frames.grad[0].abs().sum(1) > 0
    assert reached.tolist() == [True] * 5 + [False] * 4


@pytest.mark.parametrize(
    ("kind", "settings", "expected"),
    [
        (RecurrentCTC, {"hidden_size": 0}, "hidden_size must be >= 1"),
        (RecurrentCTC, {"num_layers": 0}, "num_layers must be >= 1"),
        (ConvolutionalCTC, {"kernel": 4}, "kernel=4"),
        (ConformerCTC, {"width": 10, "num_heads": 4}, "multiple of the heads"),
        (ConformerCTC, {"dropout": 1.0}, "dropout must be a share"),
    ],
)
def test_impossible_sizes(kind, settings, expected):
    with pytest.raises(ValueError, match=expected):
        kind(**SIZES, **settings)
