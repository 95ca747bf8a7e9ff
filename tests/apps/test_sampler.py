from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from apps.sampler import EpochSampler


def draw(size: int, number: int, seed: int, epoch: int) -> list[int]:
    sampler = EpochSampler(size, number, seed)
    sampler.set_epoch(epoch)
    drawn = list(sampler)
    assert len(sampler) == len(drawn)
    return drawn


@given(
    size=st.integers(1, 300),
    number=st.integers(1, 400),
    seed=st.integers(0, 2**32 - 1),
    epoch=st.integers(0, 1000),
)
def test_a_draw_repeats_no_sample_and_is_determined(size, number, seed, epoch):
    drawn = draw(size, number, seed, epoch)
    assert len(drawn) == min(size, number)
    assert len(set(drawn)) == len(drawn)
    assert set(drawn) <= set(range(size))
    assert drawn == draw(size, number, seed, epoch)


def test_seed_and_epoch_change_the_order():
    orders = {tuple(draw(50, 50, seed, epoch)) for seed in range(5) for epoch in range(5)}
    assert len(orders) == 25
    assert all(sorted(order) == list(range(50)) for order in orders)


def test_every_sample_has_its_turn():
    seen = {sample for epoch in range(200) for sample in draw(40, 4, 0, epoch)}
    assert seen == set(range(40))


def test_the_draw_is_the_same_on_every_machine():
    # A changed draw would make a resumed run continue with other batches.
    assert draw(10, 4, 3, 2) == draw(10, 10, 3, 2)[:4] == [9, 7, 5, 8]
