"""The shared recurrent layer against torch's packed sequences."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from apps.base.networks import CELLS, RecurrentLayer, turned


@settings(max_examples=30)
@given(
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=5),
    cell=st.sampled_from(list(CELLS)),
)
def test_a_layer_equals_packed_sequences_with_their_gradients(lengths, cell):
    torch.manual_seed(0)
    layer = RecurrentLayer(cell, 3, 4, bidirectional=True)
    oracle = CELLS[cell](3, 4, batch_first=True, bidirectional=True)
    forward, backward = (dict(way.named_parameters()) for way in layer.ways)
    with torch.no_grad():
        for name, param in oracle.named_parameters():
            source = backward if name.endswith("_reverse") else forward
            param.copy_(source[name.removesuffix("_reverse")])
    frames, sizes = torch.randn(len(lengths), max(lengths), 3), torch.tensor(lengths)
    packed = pack_padded_sequence(frames, sizes, batch_first=True, enforce_sorted=False)
    expected, _ = pad_packed_sequence(oracle(packed)[0], batch_first=True)
    kept = (torch.arange(max(lengths)) < sizes[:, None])[..., None]
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
