"""Slots for requests and a budget for bodies."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from runtime.errors import TooManyRequests
from runtime.limits import BodyBudget, Limits


def test_a_function_has_its_own_limit() -> None:
    """Threat 71."""
    limits = Limits(total=100, per_function=2)
    with limits.slot(1), limits.slot(1):
        with pytest.raises(TooManyRequests), limits.slot(1):
            pass
        with limits.slot(2):
            assert limits.used == 3
    with limits.slot(1):
        pass
    assert limits.used == 0


def test_the_manifest_may_say_another_limit() -> None:
    limits = Limits(total=100, per_function=2)
    with limits.slot(1, 1), pytest.raises(TooManyRequests), limits.slot(1, 1):
        pass


def test_a_slot_is_given_back_after_an_error() -> None:
    limits = Limits(total=1, per_function=1)
    with pytest.raises(ZeroDivisionError), limits.slot(1):
        raise ZeroDivisionError
    with limits.slot(1):
        pass


def test_the_last_quarter_is_for_those_with_less_than_their_share() -> None:
    """Threat 71: two busy functions cannot lock a third one out."""
    limits = Limits(total=8, per_function=8)
    with ExitStack() as held:
        for _ in range(3):
            held.enter_context(limits.slot(1))
            held.enter_context(limits.slot(2))
        for _ in range(2):
            held.enter_context(limits.slot(3))
        assert limits.used == 8
        with pytest.raises(TooManyRequests):
            limits.check(4)


def test_one_function_alone_may_use_all_slots() -> None:
    limits = Limits(total=4, per_function=8)
    with ExitStack() as held:
        for _ in range(4):
            held.enter_context(limits.slot(1))
        with pytest.raises(TooManyRequests):
            limits.check(1)


def test_bodies_share_a_budget() -> None:
    """Threat 69."""
    budget = BodyBudget(10)
    budget.take(6)
    with pytest.raises(TooManyRequests):
        budget.take(5)
    budget.give_back(6)
    budget.take(10)
