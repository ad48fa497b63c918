"""What belongs into the copy."""

import pytest

from service.objects.mirror.plan import Plan, plan

N: frozenset[int] = frozenset()


def numbers(*them: int) -> frozenset[int]:
    return frozenset(them)


@pytest.mark.parametrize(
    ("copied", "there", "wanted", "held", "failed", "expected"),
    [
        # nothing to do
        ({1}, {1}, {1}, {1}, N, Plan(numbers(1))),
        # a newer one has been fetched: the old one stays until no engine has it
        ({1, 2}, {1, 2}, {2}, {1}, N, Plan(numbers(1, 2))),
        ({1, 2}, {1, 2}, {2}, {1, 2}, N, Plan(numbers(1, 2))),
        ({1, 2}, {1, 2}, {2}, {2}, N, Plan(numbers(2), N, numbers(1))),
        # the latest has left the bucket: the engines are shown what is there instead
        ({1, 2}, {1}, {1}, {2}, N, Plan(numbers(1), numbers(2))),
        ({1, 2}, {1}, {1}, {1}, N, Plan(numbers(1), N, numbers(2))),
        # but only where that can take over
        ({2}, {1}, {1}, {2}, N, Plan(numbers(2))),
        ({1, 2}, {1}, {1}, {2}, {1}, Plan(numbers(1, 2))),
        # all of it has left the bucket: the last good state
        ({1, 2}, N, N, {2}, N, Plan(numbers(1, 2))),
        ({1, 2}, N, N, N, N, Plan(numbers(1, 2))),
        # the latest can't be loaded: the one before stands in
        ({2, 3}, {1, 2, 3}, {2, 3}, {2}, {3}, Plan(numbers(2, 3))),
    ],
)
def test_only_what_can_be_replaced_leaves(
    copied: set[int], there: set[int], wanted: set[int], held: set[int], failed: set[int], expected: Plan
) -> None:
    assert plan(copied, there, wanted, held, failed) == expected


def test_a_model_that_is_not_named_any_more_goes_when_no_engine_has_it() -> None:
    assert plan({1, 2}, N, N, {2}, is_named=False) == Plan(numbers(2), N, numbers(1))
    assert plan({1, 2}, N, N, N, is_named=False) == Plan(N, N, numbers(1, 2))
