"""The view that workers share: seen by all at one moment, and by none before."""

from pathlib import Path

import pytest

from service.engine.local.agreement import ModelOffer, Offer, View
from service.engine.local.shared_view import OwnView, SharedView


@pytest.fixture
def generation() -> "memoryview[int]":
    return memoryview(bytearray(8)).cast("q")


@pytest.fixture
def views(tmp_path: Path, generation: "memoryview[int]") -> list[SharedView]:
    return [SharedView(tmp_path, generation, worker) for worker in (1, 2)]


def offer(*available: int, settled_at: int = 0) -> Offer:
    return Offer({"m": ModelOffer(frozenset(available), preferred=frozenset(available))}, settled_at=settled_at)


def defaults(views: list[SharedView]) -> list[int | None]:
    return [view.now.of("m").default for view in views]


def test_it_changes_for_all_when_the_number_does(
    views: list[SharedView], tmp_path: Path, generation: "memoryview[int]"
) -> None:
    first, second = views
    assert first.join(offer(1), ready=True, alone=False)
    assert not second.join(offer(), ready=True, alone=False), "it lacks what the other one answers with"
    assert second.join(offer(1), ready=False, alone=False)
    assert first.offer(offer(1, 2))
    assert defaults(views) == [1, 1]
    before = generation[0]
    assert second.offer(offer(1, 2))
    assert generation[0] > before
    assert defaults(views) == [2, 2]
    after, generation[0] = generation[0], before  # as it was a moment before
    assert defaults([SharedView(tmp_path, generation, 3)]) == [1]
    generation[0] = after


def test_a_worker_that_takes_no_requests_yet_is_not_waited_for(views: list[SharedView]) -> None:
    first, second = views
    second.offer(offer())
    first.join(offer(1), ready=True, alone=False)
    assert defaults(views) == [1, 1]


def test_what_is_named_is_not_withdrawn(views: list[SharedView]) -> None:
    for view in (views[0], OwnView()):
        view.join(offer(1, 2), ready=True, alone=True)
        assert not view.offer(offer(1), without=("m", 2))
        assert view.now.of("m").available == {1, 2}
        assert view.offer(offer(2), without=("m", 1))
        assert view.now.of("m").available == {2}


def test_who_is_forgotten_is_not_waited_for(views: list[SharedView]) -> None:
    first, second = views
    for view in views:
        view.join(offer(1), ready=True, alone=True)
    first.offer(offer(1, 2))
    first.forget(2)
    assert defaults(views) == [2, 2]
    second.leave()  # once more does no harm
    first.leave()
    assert defaults(views) == [2, 2], "it is what the next worker begins with"


def test_a_call_is_answered_once_all_have_looked_since(views: list[SharedView]) -> None:
    first, second = views
    for view in views:
        view.join(offer(1), ready=True, alone=True)
    look = first.call()
    assert second.generation == look
    first.offer(offer(1, settled_at=look))
    assert not first.is_settled(look)
    second.offer(offer(1, settled_at=look))
    assert first.is_settled(look)
    assert not first.is_settled(second.call())


def test_old_views_are_removed(views: list[SharedView], tmp_path: Path) -> None:
    for _ in range(100):
        views[0].call()
    assert len(list(tmp_path.iterdir())) < 15
    assert views[1].now == View()


def test_a_view_that_can_not_be_read_leaves_the_one_known(
    views: list[SharedView], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(_: Path) -> str:
        raise OSError(24, "Too many open files")

    first, second = views
    first.join(offer(1), ready=True, alone=True)
    assert defaults(views) == [1, 1]
    first.offer(offer(2))
    with monkeypatch.context() as patched:
        patched.setattr(Path, "read_text", refuse)
        assert defaults([second]) == [1]
    assert "What the workers agreed on can't be read: Too many open files." in caplog.text
    assert defaults([second]) == [2]
