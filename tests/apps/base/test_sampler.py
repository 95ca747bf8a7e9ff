from __future__ import annotations

from unittest import mock

from hypothesis import given
from hypothesis import strategies as st

from apps.base.sampler import EpochSampler, LengthSampler, TrainLoader


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


def batches(sampler: LengthSampler, epoch: int) -> list[list[int]]:
    sampler.set_epoch(epoch)
    return list(sampler)


@given(st.lists(st.integers(0, 90), min_size=1, max_size=400), st.integers(1, 7))
def test_batches_of_similar_length_hold_every_sample_once(lengths, batch_size):
    sampler = LengthSampler(lengths, batch_size, seed=3)
    found = batches(sampler, 0)
    assert sorted(i for batch in found for i in batch) == list(range(len(lengths)))
    assert len(found) == len(sampler)
    assert max(map(len, found)) <= batch_size
    assert batches(LengthSampler(lengths, batch_size, seed=3), 0) == found


def test_an_epoch_of_some_samples_draws_other_ones_each_time():
    sampler = LengthSampler(range(100), 8, seed=0, num_samples=20)
    assert len(sampler) == 3
    drawn = [{i for batch in batches(sampler, epoch) for i in batch} for epoch in (0, 1)]
    assert [len(found) for found in drawn] == [20, 20]
    assert drawn[0] != drawn[1]
    assert len(LengthSampler(range(5), 2, seed=0, num_samples=20)) == 3, "no more than there are"


def test_batches_differ_by_epoch_and_seed_and_hold_little_padding():
    lengths = [(17 * i) % 101 for i in range(1000)]
    one, two = LengthSampler(lengths, 10, seed=0), LengthSampler(lengths, 10, seed=1)
    assert len({str(batches(s, epoch)) for s in (one, two) for epoch in (0, 1)}) == 4
    padded = sum(len(batch) * max(lengths[i] for i in batch) for batch in batches(one, 0))
    assert padded < 1.1 * sum(lengths)


@given(
    size=st.integers(1, 60),
    number=st.integers(1, 80),
    world=st.integers(1, 5),
    epoch=st.integers(0, 9),
)
def test_processes_share_the_draw_of_one(size, number, world, epoch):
    whole = draw(size, number, 0, epoch)
    shares = []
    for rank in range(world):
        with mock.patch("apps.base.sampler._place", return_value=(rank, world)):
            shares.append(draw(size, number, 0, epoch))
    dealt = [item for items in zip(*shares, strict=True) for item in items]
    assert dealt == whole[: len(dealt)]
    assert len(whole) - len(dealt) < world


def test_processes_share_whole_batches():
    whole = batches(LengthSampler(list(range(50)), 8, seed=0), 3)
    shares = []
    for rank in range(2):
        with mock.patch("apps.base.sampler._place", return_value=(rank, 2)):
            shares.append(batches(LengthSampler(list(range(50)), 8, seed=0), 3))
    assert shares == [whole[:6:2], whole[1:6:2]]


class Numbers:
    """A data set that gives back what it is asked for."""

    def __getitem__(self, asked):
        return asked

    def __len__(self):
        return 20


@given(left_out=st.integers(0, 7), epoch=st.integers(0, 3), by_length=st.booleans())
def test_a_loader_goes_on_within_an_epoch_and_is_whole_in_the_next(left_out, epoch, by_length):
    if by_length:
        sampler = LengthSampler([1] * 20, 3, seed=1)
        loader = TrainLoader(Numbers(), batch_size=None, sampler=sampler, collate_fn=list)
    else:
        sampler = EpochSampler(20, 20, seed=1)
        loader = TrainLoader(Numbers(), 3, sampler=sampler, collate_fn=list)
    sampler.set_epoch(epoch)
    whole = list(loader)
    loader.go_on(epoch, left_out)
    assert list(loader) == whole[left_out:]
    assert loader.given == len(whole) == len(loader) == 7
    sampler.set_epoch(epoch + 1)
    assert len(list(loader)) == 7
