"""The networks look at nothing that comes later; the task's loss, outliers and surprise."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from apps.base.task import Optimization
from apps.language.alphabet import END, PADDING, Alphabet, cut
from apps.language.data import Pieces
from apps.language.model import LSTM, Transformer, turned
from apps.language.scoring import bits_per_character, surprise, table
from apps.language.task import LanguageTask

ALPHABET = Alphabet("abcdef", context=8)


def task(kind=Transformer, **sizes):
    net = kind(len(ALPHABET), hidden_size=8, **sizes)
    return LanguageTask(net, Optimization(lambda groups: torch.optim.SGD(groups, lr=0.1))).eval()


@pytest.mark.parametrize("kind", [Transformer, LSTM])
def test_scores_depend_on_what_went_before_alone(kind):
    net = task(kind).net
    inputs = torch.randint(3, len(ALPHABET), (2, 7))
    changed = inputs.clone()
    changed[:, 4:] = 3
    before, after = net(inputs), net(changed)
    # The same products in another order or by another kernel: some units in float32's last place.
    assert torch.allclose(before[:, :4], after[:, :4], atol=1e-5)
    assert not torch.allclose(before[:, 4:], after[:, 4:], atol=1e-3)
    shorter = net(inputs[:, :4])
    assert torch.allclose(before[:, :4], shorter, atol=1e-5), "padding after a text changes nothing"


def test_attention_sees_how_far_apart_characters_are_and_not_where():
    one, other = torch.randn(2, 4)
    placed = [turned(torch.stack([vector] * 9)) for vector in (one, other)]
    products = placed[0] @ placed[1].T
    # Angles of float32 are exact to some 1e-6 at these places, products of order one.
    for apart in range(-3, 4):
        assert torch.allclose(products.diagonal(apart), products.diagonal(apart)[0], atol=1e-5)
    assert products[0, 0] == pytest.approx((one @ other).item(), rel=1e-5)
    assert not torch.allclose(products[0, 0], products[0, 3], atol=1e-2)


def test_the_transformer_knows_the_order_of_characters():
    net = task().net
    one, other = (net(torch.tensor([[END, *ids, 5]]))[0, -1] for ids in ((3, 4), (4, 3)))
    assert not torch.allclose(one, other, atol=1e-4)


def test_an_outlier_is_garbage_of_the_same_shape_with_a_larger_gradient():
    inputs = torch.tensor([[END, 3, 4, 5], [END, 3, PADDING, PADDING]])
    targets = torch.tensor([[3, 4, 5, END], [PADDING, END, PADDING, PADDING]])
    one, batch = task(), (inputs, targets, torch.ones(()))
    spoilt, again = (one.outlying(batch, 10.0) for _ in range(2))
    assert all(map(torch.equal, spoilt, again))
    for before, after in zip(batch[:2], spoilt[:2], strict=True):
        assert torch.equal(before == PADDING, after == PADDING)
        assert after[after != PADDING].min() >= END
    assert torch.equal(spoilt[0][0, 1:], spoilt[1][0, :-1]), "a text as any other"
    assert spoilt[2] == 10.0
    grads = []
    for weight in (1.0, 10.0):
        loss = one.loss((*spoilt[:2], torch.tensor(weight)))
        grads.append(torch.autograd.grad(loss, one.net.head.weight)[0])
        assert loss.item() == pytest.approx(one.loss((*spoilt[:2], torch.ones(()))).item())
    assert torch.allclose(10 * grads[0], grads[1], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("text", ["abc", "", "abcdefabcdefabcdefabcdef", "a?b"])
def test_the_surprise_of_a_text_is_that_of_its_characters(text):
    one, ids = task(), ALPHABET.encode(text)
    wanted = 0.0
    for piece in cut(ids, ALPHABET.context):
        scores = one.net(torch.from_numpy(piece.inputs)[None])[0].double().log_softmax(-1)
        kept = piece.targets != PADDING
        wanted -= scores[np.flatnonzero(kept), piece.targets[kept]].sum().item()
    found = surprise(one, [ids, ALPHABET.encode("ab")], ALPHABET.context)
    assert found[0] == pytest.approx(wanted, rel=1e-5), "whatever else is in the batch"


def test_bits_are_nats_and_an_end_is_a_character():
    texts = [ALPHABET.encode("ab"), ALPHABET.encode("?")]
    found = table(texts, np.array([3.0, 4.0]) * math.log(2))
    assert found["characters"].tolist() == [3, 2]
    assert found["bits_per_character"].tolist() == pytest.approx([1.0, 2.0])
    assert found["unknown"].tolist() == [0.0, 1.0]
    assert bits_per_character(found) == pytest.approx(7 / 5)


def test_batches_are_padded_after_the_text():
    read = Pieces([piece for text in ("abc", "a") for piece in cut(ALPHABET.encode(text), 8)])
    inputs, targets, weight = read[[0, 1]]
    assert inputs.tolist() == [[END, 3, 4, 5], [END, 3, PADDING, PADDING]]
    assert targets.tolist() == [[3, 4, 5, END], [3, END, PADDING, PADDING]]
    assert weight == 1
    assert read.by_length() == [[1, 0]]


@pytest.mark.parametrize("heads", [0, 3, 8])
def test_heads_that_do_not_fit(heads):
    with pytest.raises(ValueError, match=f"got hidden_size=8, num_heads={heads}"):
        Transformer(9, hidden_size=8, num_heads=heads)
