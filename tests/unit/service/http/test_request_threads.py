"""The threads for requests: those that wait for slow clients are replaced, up to a limit, and no more."""

import threading
from collections.abc import Iterator

import pytest

from service.http.request_threads import RequestThreads

PATIENCE_S = 30.0


@pytest.fixture
def threads() -> Iterator[RequestThreads]:
    made = RequestThreads(size=2, most_slow=3)
    yield made
    made.shutdown()


class Slow:
    """A job that steps aside and waits until it is let go."""

    def __init__(self, threads: RequestThreads) -> None:
        self.threads = threads
        self.began, self.go, self.ended = threading.Event(), threading.Event(), threading.Event()
        self.aside = False

    def __call__(self) -> None:
        self.aside = self.threads.step_aside()
        self.began.set()
        self.go.wait(PATIENCE_S)
        if self.aside:
            self.threads.step_back()
        self.ended.set()


def test_slow_clients_leave_all_threads_for_others(threads: RequestThreads) -> None:
    slow = [Slow(threads) for _ in range(3)]
    for job in slow:
        threads.submit(job)
        assert job.began.wait(PATIENCE_S)
    together = threading.Barrier(3)  # two others, at the same time, and this test
    for _ in range(2):
        threads.submit(lambda: together.wait(PATIENCE_S) and None)
    together.wait(PATIENCE_S)
    for job in slow:
        job.go.set()
        assert job.ended.wait(PATIENCE_S)


def test_more_than_the_limit_may_not_wait(threads: RequestThreads) -> None:
    slow = [Slow(threads) for _ in range(4)]
    for job in slow:
        threads.submit(job)
        assert job.began.wait(PATIENCE_S)
    assert [job.aside for job in slow] == [True, True, True, False]
    for job in slow:
        job.go.set()


def test_a_host_that_has_no_thread_to_give_loses_none_for_good(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    threads = RequestThreads(size=1, most_slow=3)
    done = threading.Event()
    with monkeypatch.context() as full:
        full.setattr(threading.Thread, "start", start)
        threads.submit(done.set)  # waits
        assert not threads.step_aside()
    other = threading.Event()
    threads.submit(other.set)
    assert done.wait(PATIENCE_S)
    assert other.wait(PATIENCE_S)
    for _ in range(3):
        assert threads.step_aside()
    assert not threads.step_aside()
    threads.shutdown()


def test_threads_that_are_too_many_end(threads: RequestThreads) -> None:
    slow = [Slow(threads) for _ in range(3)]
    for job in slow:
        threads.submit(job)
        assert job.began.wait(PATIENCE_S)
    for job in slow:
        job.go.set()
        assert job.ended.wait(PATIENCE_S)
    for _ in range(50):  # each thread looks after a job
        done = threading.Event()
        threads.submit(done.set)
        assert done.wait(PATIENCE_S)
    assert threads._alive <= 5
    together = threading.Barrier(3)
    for _ in range(2):
        threads.submit(lambda: together.wait(PATIENCE_S) and None)
    together.wait(PATIENCE_S)
