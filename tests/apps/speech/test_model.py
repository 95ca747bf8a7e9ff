"""The networks against packed sequences, and utterances alone against those in a batch."""

from __future__ import annotations

import pytest
import torch

from apps.speech.model import (
    ConformerCTC,
    ConvolutionalCTC,
    RecurrentCTC,
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


@pytest.mark.parametrize(("kind", "settings"), [*EXACT, CONFORMER])
def test_the_encoder_alone_serves_another_loss(kind, settings):
    net = make(kind, settings).eval()
    frames, lengths = torch.randn(2, 9, 12), torch.tensor([9, 6])
    hidden = net.encode(frames, lengths)
    assert hidden.shape == (2, 9, net.output.in_features)
    torch.testing.assert_close(net.output(hidden), net(frames, lengths))
    hidden.square().sum().backward()
    assert net.output.weight.grad is None


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
