"""Connections that wait are in order, and any can leave."""

from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.http.waiting_connections import WaitingConnections


@given(st.lists(st.one_of(st.integers(0, 5), st.sampled_from(["popleft", "remove"])), max_size=30))
def test_it_does_what_a_deque_does(steps: list[int | str]) -> None:
    ours, model = WaitingConnections(), deque[object]()
    for step in steps:
        if step == "popleft" and model:
            assert ours.popleft() == model.popleft()
        elif step == "remove" and model:
            conn = model[len(model) // 2]
            model.remove(conn)
            ours.remove(conn)
        elif isinstance(step, int) and step not in model:  # a connection waits once
            model.append(step)
            ours.append(step)
        assert list(ours) == list(model)
        assert [each in ours for each in range(6)] == [each in model for each in range(6)]
        assert (len(ours), bool(ours)) == (len(model), bool(model))
        if model:
            assert ours[0] == model[0]


def test_only_the_first_has_a_place() -> None:
    waiting = WaitingConnections()
    waiting.append(1)
    waiting.append(2)
    with pytest.raises(IndexError, match="first"):
        waiting[1]
