"""The networks: shapes, padding that changes nothing, pooling and vectors by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from apps.sentiment.layers import Pool, WordEmbedding
from apps.sentiment.model import Convolutional, Recurrent, Transformer

MAKERS = [
    Recurrent,
    lambda *sizes: Recurrent(*sizes, cell="gru", num_layers=2, pooling="attention_max"),
    lambda *sizes: Recurrent(*sizes, cell="rnn", pooling="last"),
    lambda *sizes: Recurrent(*sizes, pooling="max"),
    Transformer,
    Convolutional,
]
TEXTS = [[5, 3, 9, 2], [4], [7, 7, 1, 2, 3, 8], [1, 2]]


def padded(texts: list[list[int]], length: int) -> torch.Tensor:
    return torch.tensor([text + [0] * (length - len(text)) for text in texts])


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("vector_size", [0, 6])
def test_padding_and_company_change_nothing(make, vector_size):
    torch.manual_seed(0)
    net = make(12, 8, vector_size, 3).eval()
    if vector_size:
        net.embedding.set_vectors(torch.randn(12, vector_size))
    together = net(padded(TEXTS, 6))
    assert together.shape == (4, 3)
    torch.testing.assert_close(net(padded(TEXTS, 11)), together)
    alone = torch.cat([net(torch.tensor([text])) for text in TEXTS])
    torch.testing.assert_close(alone, together)


@pytest.mark.parametrize("make", MAKERS)
def test_a_text_without_words_has_a_finite_answer_and_gradient(make):
    torch.manual_seed(0)
    net = make(12, 12, 0, 1)
    net(padded([[], [3, 4]], 2)).sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in net.parameters())


def test_pooling_by_hand():
    states = torch.tensor([[[1.0, 4.0], [3.0, 0.0], [9.0, 9.0]]])
    present = torch.tensor([[True, True, False]])
    assert Pool(2, "max")(states, present).tolist() == [[3.0, 4.0]]
    assert Pool(2, "last")(states, present).tolist() == [[3.0, 0.0]]
    pool = Pool(2, "attention")
    nn.init.zeros_(pool.score[2].weight)
    assert pool(states, present).tolist() == [[2.0, 2.0]], "equal weights, padding left out"
    with pytest.raises(ValueError, match="pooling must be one of attention, max"):
        Pool(2, "mean")


def test_pretrained_vectors_are_the_start_and_stay_for_words_never_trained():
    torch.manual_seed(0)
    embedding = WordEmbedding(6, 4, 3, 64, word_dropout=0.0)
    vectors = torch.randn(6, 3)
    embedding.set_vectors(vectors)
    words = torch.tensor([[2, 3, 4, 5]])
    torch.testing.assert_close(embedding(words)[0], vectors[2:])
    optimizer = torch.optim.SGD(embedding.parameters(), lr=1.0)
    embedding(words).sum().backward()
    optimizer.step()
    torch.testing.assert_close(embedding(words)[0, :2], vectors[2:4] - 1)
    torch.testing.assert_close(embedding(words)[0, 2:], vectors[4:])
    torch.testing.assert_close(embedding.state_dict()["vectors"], vectors)


def test_word_dropout_makes_words_unknown_in_training_alone():
    embedding = WordEmbedding(50, 50, 0, 4, word_dropout=0.5)
    words = torch.arange(50)[None]
    embedding.train()
    unknown = (embedding(words)[0] == embedding.table.weight[1]).all(dim=1)
    assert 10 < unknown.sum() < 40
    assert not unknown[0], "padding stays padding"
    assert (embedding.eval()(words)[0] == embedding.table.weight).all()


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: Recurrent(9, 9, 0, 1, hidden_size=0), "hidden_size=0"),
        (lambda: Recurrent(9, 9, 0, 1, dropout=1.0), r"must be in \[0, 1\)"),
        (lambda: Recurrent(9, 9, 0, 1, cell="brain"), "cell must be one of gru, lstm, rnn"),
        (lambda: Transformer(9, 9, 0, 1, hidden_size=10, num_heads=4), "multiple of num_heads=4"),
        (lambda: Convolutional(9, 9, 0, 1, widths=[]), "widths must be"),
    ],
)
def test_sizes_that_cannot_be(make, expected):
    with pytest.raises(ValueError, match=expected):
        make()
