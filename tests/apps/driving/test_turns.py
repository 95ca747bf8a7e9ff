"""The steps of an epoch, and where they may be left."""

from __future__ import annotations

from apps.driving.data import Turn, Turns


def test_every_rollout_has_its_steps_and_none_comes_twice() -> None:
    turns = Turns(rollouts=2, steps=3, seed=5)
    turns.set_epoch(4)
    assert list(turns) == [Turn(5, number, step) for number in (8, 9) for step in range(3)]
    assert len(turns) == 6


def test_a_run_is_left_between_two_rollouts_alone() -> None:
    turns = Turns(rollouts=2, steps=3, seed=0)
    assert [taken for taken in range(7) if turns.may_be_left_at(taken)] == [0, 3, 6]
    turns.go_on(0, 3)
    assert list(turns) == [Turn(0, 1, step) for step in range(3)]
