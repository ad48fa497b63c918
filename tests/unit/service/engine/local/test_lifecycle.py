"""What to do next about versions: a table, and a property of everything that follows from it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.config.model_config import All, Latest, Policy, Specific, wanted_versions
from service.engine.local.lifecycle import Action, Version, next_action
from service.interface import State

AVAILABLE, END, LOADING, UNLOADING = State.AVAILABLE, State.END, State.LOADING, State.UNLOADING


@pytest.mark.parametrize(
    ("wanted", "held", "changed", "expected"),
    [
        pytest.param({}, {}, set(), None, id="nothing-wanted-nothing-held"),
        pytest.param({"m": {1}}, {}, set(), ("load", "m", 1), id="a-new-model"),
        pytest.param({"m": {1}}, {("m", 1): AVAILABLE}, set(), None, id="all-is-well"),
        pytest.param({"m": {1, 2}}, {}, set(), ("load", "m", 2), id="the-highest-first"),
        pytest.param({"b": {1}, "a": {1}}, {}, set(), ("load", "a", 1), id="models-in-order"),
        pytest.param({"m": {2}}, {("m", 1): AVAILABLE}, set(), ("load", "m", 2), id="load-before-unload"),
        pytest.param({"m": {2}}, {("m", 1): AVAILABLE, ("m", 2): AVAILABLE}, set(), ("unload", "m", 1), id="replaced"),
        pytest.param({"m": {2}}, {("m", 1): AVAILABLE, ("m", 2): END}, set(), None, id="a-failure-replaces-nothing"),
        pytest.param({"m": {2}}, {("m", 1): AVAILABLE, ("m", 2): LOADING}, set(), None, id="nor-does-a-load"),
        pytest.param({"m": {1}}, {("m", 1): END}, set(), None, id="a-failure-is-not-tried-again"),
        pytest.param({"m": {1}}, {("m", 1): END}, {("m", 1)}, ("load", "m", 1), id="but-when-its-files-change"),
        pytest.param({"m": {1}}, {("m", 1): AVAILABLE}, {("m", 1)}, None, id="what-serves-is-left-alone"),
        pytest.param({}, {("m", 1): AVAILABLE}, set(), ("unload", "m", 1), id="the-model-is-gone"),
        pytest.param({"m": set()}, {("m", 1): AVAILABLE}, set(), ("unload", "m", 1), id="no-version-is-wanted"),
        pytest.param({}, {("m", 1): END}, set(), ("forget", "m", 1), id="a-failure-that-is-gone"),
        pytest.param(
            {"m": {1}}, {("m", 1): AVAILABLE, ("m", 2): END}, set(), ("forget", "m", 2), id="a-failure-not-wanted"
        ),
        pytest.param({}, {("m", 1): UNLOADING, ("n", 1): LOADING}, set(), None, id="what-is-on-its-way-is-left"),
        pytest.param(
            {"a": {1}, "b": {2}},
            {("a", 1): AVAILABLE, ("b", 1): AVAILABLE},
            set(),
            ("load", "b", 2),
            id="another-models-version-is-no-replacement",
        ),
        pytest.param(
            {"a": {1}, "b": {2}},
            {("a", 1): AVAILABLE, ("b", 1): AVAILABLE, ("b", 2): END},
            set(),
            None,
            id="another-models-version-replaces-nothing",
        ),
    ],
)
def test_next_action(
    wanted: dict[str, set[int]],
    held: dict[Version, State],
    changed: set[Version],
    expected: tuple[str, str, int] | None,
) -> None:
    action = next_action(wanted, held, changed)
    assert (action and (action.verb, *action.version)) == expected


@pytest.mark.parametrize(
    ("policy", "versions", "failed", "expected"),
    [
        (Latest(), [], set(), set()),
        (Latest(), [1], set(), {1}),
        (Latest(), [1, 2, 10], set(), {10}),
        (Latest(), [1, 2, 10], {10}, {10, 2}),
        (Latest(), [1, 2, 10], {10, 2}, {10, 2, 1}),
        (Latest(), [1, 2], {1, 2}, {1, 2}),
        (Latest(), [1, 2, 10], {1}, {10}),
        (Latest(), [1, 2], {3}, {2}),
        (Latest(2), [1, 2, 10], set(), {10, 2}),
        (Latest(2), [1, 2, 10], {2}, {10, 2, 1}),
        (Latest(5), [1, 2], set(), {1, 2}),
        (All(), [1, 2, 10], {2}, {1, 2, 10}),
        (Specific(frozenset({1, 2})), [1, 2, 10], {2}, {1, 2}),
        (Specific(frozenset({3})), [1, 2], set(), set()),
    ],
)
def test_the_versions_wanted_are_those_of_the_policy_and_what_stands_in_for_them(
    policy: Policy, versions: list[int], failed: set[int], expected: set[int]
) -> None:
    assert wanted_versions(policy, versions, failed) == expected


names = st.sampled_from(["a", "b"])
numbers = st.integers(1, 4)
stores = st.dictionaries(names, st.frozensets(numbers, min_size=1))


@given(
    history=st.lists(stores, min_size=1, max_size=5), broken=st.frozensets(st.tuples(names, numbers)), data=st.data()
)
def test_acting_always_ends_and_never_leaves_a_model_without_a_version_that_it_could_have(
    history: list[dict[str, frozenset[int]]], broken: frozenset[Version], data: st.DataObject
) -> None:
    held: dict[Version, State] = {}
    for folders in history:
        changed = data.draw(st.frozensets(st.tuples(names, numbers), max_size=2))
        for _ in range(50):
            failed = {key for key, state in held.items() if state is END}
            wanted = {
                model: wanted_versions(Latest(), versions, {number for name, number in failed if name == model})
                for model, versions in folders.items()
            }
            action = next_action(wanted, held, changed & failed)
            if action is None:
                break
            serving = act(action, held, broken)
            changed -= {action.version}  # it was looked at again when it was loaded
            model = action.version[0]
            if action.verb == "unload" and wanted.get(model):
                assert any((model, number) in serving for number in wanted[model])
        else:
            pytest.fail("It never came to rest.")
        for model, versions in folders.items():
            loadable = {number for number in versions if (model, number) not in broken}
            serving_now = {n for (name, n), state in held.items() if name == model and state is AVAILABLE}
            if loadable:
                assert serving_now == {max(loadable)}
        assert {name for name, _ in held} <= set(folders)


def act(action: Action, held: dict[Version, State], broken: frozenset[Version]) -> set[Version]:
    if action.verb == "load":
        assert held.get(action.version) is not AVAILABLE
        held[action.version] = END if action.version in broken else AVAILABLE
    else:
        assert held.pop(action.version) is (AVAILABLE if action.verb == "unload" else END)
    return {key for key, state in held.items() if state is AVAILABLE}
