"""Calls from one end of the hop to the other: every caller gets its own answer or an error, whatever happens."""

import gc
import os
import socket
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

from service.hop import client, messages, region, server, sockets
from service.hop.client import Hop
from service.hop.messages import HopError, Reply, Request
from service.hop.server import HopServer
from service.interface import Array
from tests.unit.service.engine.versions import until

LONG_S = 20.0

Run = Callable[[Request, Mapping[str, Array], Callable[[], bool]], Mapping[str, Array]]


class Ends:
    """Both ends in this process; `run` is what the engine does."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "hop.sock"
        self.run: Run = lambda _request, inputs, _left: inputs
        self.hop = Hop(self.path)
        self.server = self.serve()

    def serve(self) -> HopServer:
        self.server = HopServer(self.path, lambda *about: self.run(*about))
        self.server.start()
        return self.server

    def ask(
        self, inputs: Mapping[str, Array] | None = None, timeout_s: float = LONG_S, outputs: Sequence[str] = ()
    ) -> dict[str, Array] | None:
        given = inputs if inputs is not None else {"x": np.arange(3)}
        return self.hop.call("m", 7, "serving_default", outputs, given, (("x-request-id", "a"),), timeout_s)


@pytest.fixture
def ends(tmp_path: Path) -> Iterator[Ends]:
    made = Ends(tmp_path)
    yield made
    made.hop.close()
    made.server.close(LONG_S)
    until(lambda: not [thread for thread in threading.enumerate() if thread.name.startswith("hop")])


def files() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - it is open itself while it is listed


def test_the_engine_is_told_all_that_is_asked(ends: Ends) -> None:
    told: list[Request] = []

    def run(request: Request, inputs: Mapping[str, Array], _left: object) -> Mapping[str, Array]:
        told.append(request)
        return {"sum": inputs["a"] + inputs["b"]}

    ends.run = run
    before_s = time.monotonic()
    answer = ends.ask({"a": np.float32([1, 2]), "b": np.float32([10, 20])}, outputs=("sum",))
    assert answer is not None
    assert answer["sum"].tolist() == [11, 22]
    [request] = told
    assert (request.model, request.version, request.signature_name) == ("m", 7, "serving_default")
    assert (request.outputs, request.metadata) == (("sum",), (("x-request-id", "a"),))
    assert before_s + LONG_S <= request.deadline <= time.monotonic() + LONG_S


def test_every_caller_gets_its_own_answer_whatever_its_size(ends: Ends) -> None:
    """Larger and smaller calls follow each other on each connection; some answers need more room than their inputs."""

    def run(_request: Request, inputs: Mapping[str, Array], _left: object) -> Mapping[str, Array]:
        pixels = inputs["pixels"]
        [times] = inputs["times"]
        if times == 0:
            raise HopError("INVALID_ARGUMENT", f"{zlib.crc32(pixels)}")
        return {"pixels": np.tile(pixels, times), "sum": np.uint32([zlib.crc32(pixels)])}

    def ask_on(seed: int) -> int:
        random, numbers = Random(seed), np.random.default_rng(seed)
        for _ in range(60):
            size = random.choice([0, 1, 63, 64, 65, 4096, 70_000, 300_000])
            times = random.choice([0, 1, 1, 1, 5])
            pixels = numbers.integers(0, 256, size, np.uint8)
            inputs = {"pixels": pixels, "times": np.int32([times])}
            if times == 0:
                with pytest.raises(HopError, match=f"^{zlib.crc32(pixels)}$"):
                    ends.ask(inputs)
                continue
            answer = ends.ask(inputs)
            assert answer is not None
            assert answer["sum"].tolist() == [zlib.crc32(pixels)]
            assert np.array_equal(answer["pixels"], np.tile(pixels, times))
        return seed

    ends.run = run
    with ThreadPoolExecutor(12) as pool:
        assert list(pool.map(ask_on, range(12))) == list(range(12))


def test_an_error_comes_with_its_code_its_text_and_when_to_come_back(ends: Ends) -> None:
    def fail(*_: object) -> Mapping[str, Array]:
        raise HopError("UNAVAILABLE", "The queue is full: “9” wait.", 0.25)

    ends.run = fail
    with pytest.raises(HopError) as raised:
        ends.ask()
    assert (raised.value.code, raised.value.text) == ("UNAVAILABLE", "The queue is full: “9” wait.")
    assert raised.value.retry_after_s == 0.25


def test_a_deadline_ends_the_wait_and_the_engine_learns_that_nobody_waits(ends: Ends) -> None:
    left = threading.Event()
    asked: list[Mapping[str, Array]] = []

    def slow(_request: Request, inputs: Mapping[str, Array], has_left: Callable[[], bool]) -> Mapping[str, Array]:
        asked.append(inputs)
        if len(asked) == 1:
            assert not has_left()
            until(has_left)
            left.set()
        return inputs

    ends.run = slow
    with pytest.raises(HopError) as raised:
        ends.ask({"x": np.zeros(8)}, timeout_s=0.05)
    assert raised.value.code == "DEADLINE_EXCEEDED"
    assert left.wait(LONG_S)
    answer = ends.ask({"x": np.ones(8)})
    assert answer is not None
    assert answer["x"].tolist() == [1] * 8
    # A model that still ran on them would have found its inputs as they were.
    assert asked[0]["x"].tolist() == [0] * 8


def test_the_memory_of_a_call_that_failed_is_not_written_to_again(ends: Ends) -> None:
    """The engine answers that the deadline has passed while a model still runs on the inputs."""
    kept: list[Array] = []

    def fail(_request: Request, inputs: Mapping[str, Array], _left: object) -> Mapping[str, Array]:
        kept.append(inputs["x"])
        raise HopError("DEADLINE_EXCEEDED", "late")

    ends.run = fail
    for value in range(3):
        with pytest.raises(HopError):
            ends.ask({"x": np.full(8, value)})
    assert [each.tolist() for each in kept] == [[value] * 8 for value in range(3)]


def test_one_connection_is_enough_for_calls_one_after_the_other(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    regions: list[int] = []
    make = region.make
    monkeypatch.setattr(region, "make", lambda size: regions.append(size) or make(size))
    ends.ask()
    gc.collect()
    before = files()
    for size in (10, 100_000, 10, 100_000, 100_000):
        assert ends.ask({"x": np.zeros(size)}) is not None
    assert files() == before
    assert len(ends.server._connections) == 1
    # The first, one for the larger inputs, and then one for inputs and outputs.
    assert len(regions) == 3


def test_many_calls_at_once_have_a_connection_each_and_some_are_kept(ends: Ends) -> None:
    together = threading.Barrier(40)

    def run(_request: Request, inputs: Mapping[str, Array], _left: object) -> Mapping[str, Array]:
        together.wait(LONG_S)
        return inputs

    ends.run = run
    with ThreadPoolExecutor(40) as pool:
        answers = list(pool.map(lambda value: ends.ask({"x": np.array([value])}), range(40)))
    assert [int(answer["x"][0]) for answer in answers if answer is not None] == list(range(40))
    until(lambda: len(ends.server._connections) == client._KEPT)


@pytest.mark.parametrize(
    "inputs",
    [
        {"x": np.array([b"text"], object)},
        {"x": np.array(["text"])},
        {"x": np.zeros(1), "y": np.array([b"a"])},
        {"x": np.zeros((client.MOST_BYTES >> 20) + 1, "V1048576").view(np.uint8)},
    ],
    ids=["object", "text", "mixed", "large"],
)
def test_what_it_does_not_carry_is_left_to_grpc(ends: Ends, inputs: dict[str, Array]) -> None:
    ends.run = lambda *_: pytest.fail("it was made")
    assert ends.ask(inputs) is None


def test_a_call_that_takes_too_many_words_is_left_to_grpc(
    ends: Ends, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(client, "_AGAIN_S", 0.0)
    assert ends.ask({f"{number:0999d}": np.zeros(1) for number in range(70)}) is None
    assert "go over gRPC, which takes longer: a request has more inputs than fit" in caplog.text
    assert ends.ask({f"{number:0999d}": np.zeros(1) for number in range(70)}) is None
    assert len(caplog.records) == 1  # once is enough
    assert ends.ask() is not None


def test_outputs_that_it_does_not_carry_are_an_error(ends: Ends) -> None:
    ends.run = lambda *_: {"x": np.array([b"text"], object)}
    with pytest.raises(HopError, match="types other than") as raised:
        ends.ask()
    assert raised.value.code == "INTERNAL"


def test_without_an_engine_calls_are_left_to_grpc_until_it_is_there(
    ends: Ends, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(client, "_AGAIN_S", 0.05)
    assert ends.ask() is not None
    ends.server.close(LONG_S)
    assert ends.ask() is None
    ends.serve()
    until(lambda: ends.ask() is not None)
    assert not caplog.records  # an engine process that starts again is told elsewhere


def test_an_engine_that_dies_with_a_call_fails_it_and_the_next_finds_the_new_one(ends: Ends) -> None:
    began, may_end = threading.Event(), threading.Event()

    def hang(*_: object) -> Mapping[str, Array]:
        began.set()
        assert may_end.wait(LONG_S)
        return {}

    ends.run = hang
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(ends.ask)
        assert began.wait(LONG_S)
        ends.server.close(0.05)
        with pytest.raises(HopError) as raised:
            asking.result(LONG_S)
    assert (raised.value.code, raised.value.text) == ("UNAVAILABLE", "Socket closed")
    may_end.set()
    ends.run = lambda _request, inputs, _left: inputs
    ends.serve()
    assert ends.ask() is not None


def test_a_close_waits_for_the_calls_that_run(ends: Ends) -> None:
    began = threading.Event()

    def slow(_request: Request, inputs: Mapping[str, Array], has_left: Callable[[], bool]) -> Mapping[str, Array]:
        began.set()
        until(lambda: ends.server._stopping.is_set())
        assert not has_left()
        return inputs

    ends.run = slow
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(ends.ask)
        assert began.wait(LONG_S)
        ends.server.close(LONG_S)
        answer = asking.result(LONG_S)
    assert answer is not None
    assert ends.ask() is None


def test_a_gateway_that_closes_fails_its_own_calls(ends: Ends) -> None:
    began = threading.Event()

    def wait(_request: Request, inputs: Mapping[str, Array], has_left: Callable[[], bool]) -> Mapping[str, Array]:
        began.set()
        until(has_left)
        return inputs

    ends.run = wait
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(ends.ask)
        assert began.wait(LONG_S)
        ends.hop.close()
        with pytest.raises(HopError, match="Socket closed"):
            asking.result(LONG_S)
    assert ends.ask() is None


def test_another_user_gets_no_answer(
    ends: Ends, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with sockets.make() as stranger:
        monkeypatch.setattr(os, "geteuid", lambda: 4242)
        stranger.connect(str(ends.path))
        stranger.settimeout(LONG_S)
        assert stranger.recv(1) == b""
    assert "another user" in caplog.text
    assert ends.ask() is None  # and the other way round
    assert oct(ends.path.stat().st_mode & 0o777) == "0o600"


@pytest.mark.parametrize(
    "sent",
    [b"nonsense", b"[]", messages.write(Request(1, "m", 1, "s", (), 0.0, (), ())), b"x" * messages.MOST_BYTES],
    ids=["nonsense", "empty", "without memory", "long"],
)
def test_what_is_no_call_ends_its_connection_and_nothing_else(
    ends: Ends, sent: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    with sockets.make() as stranger:
        stranger.connect(str(ends.path))
        stranger.settimeout(LONG_S)
        assert stranger.recv(64) == sockets.HELLO
        stranger.send(sent)
        assert stranger.recv(64) == b""
    assert "unexpectedly" in caplog.text
    assert ends.ask() is not None


def test_a_run_that_fails_in_an_unforeseen_way_ends_its_connection_and_nothing_else(
    ends: Ends, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> Mapping[str, Array]:
        raise RuntimeError("oops")

    ends.run = fail
    with pytest.raises(HopError, match="Socket closed"):
        ends.ask()
    assert "oops" in caplog.text
    ends.run = lambda _request, inputs, _left: inputs
    assert ends.ask() is not None


def test_the_answer_to_another_call_is_not_taken(
    ends: Ends, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("service.hop.server.Reply", lambda number, *rest, **more: Reply(number - 1, *rest, **more))
    with pytest.raises(HopError, match="call 0 came for call 1") as raised:
        ends.ask()
    assert raised.value.code == "DATA_LOSS"
    assert "can't be read" in caplog.text
    monkeypatch.undo()
    assert ends.ask() is not None


def test_connections_beyond_a_bound_are_left_to_grpc(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MOST", 1)
    monkeypatch.setattr(client, "_AGAIN_S", 0.0)
    began, may_end = threading.Event(), threading.Event()

    def hang(_request: Request, inputs: Mapping[str, Array], _left: object) -> Mapping[str, Array]:
        began.set()
        assert may_end.wait(LONG_S)
        return inputs

    ends.run = hang
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(ends.ask)
        assert began.wait(LONG_S)
        assert ends.ask() is None
        may_end.set()
        assert asking.result(LONG_S) is not None
    assert ends.ask() is not None


def test_without_memory_calls_are_left_to_grpc(
    ends: Ends, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(client, "_AGAIN_S", 0.0)

    def none(*_: object) -> int:
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(os, "memfd_create", none)
    assert ends.ask() is None
    assert "takes longer: Cannot allocate memory" in caplog.text
    monkeypatch.undo()

    def large(*_: object) -> Mapping[str, Array]:
        monkeypatch.setattr(os, "memfd_create", none)
        return {"x": np.zeros(1 << 20)}

    ends.run = large
    with pytest.raises(HopError, match="no memory for the outputs: Cannot allocate memory") as raised:
        ends.ask()
    assert raised.value.code == "UNAVAILABLE"


def test_an_engine_without_a_thread_or_a_file_left_goes_on(
    ends: Ends, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(client, "_AGAIN_S", 0.0)
    start = threading.Thread.start

    def refuse(self: threading.Thread) -> None:
        if self.name == "hop-call":
            raise RuntimeError("can't start new thread")
        start(self)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert ends.ask() is None
    assert "can't start new thread" in caplog.text
    monkeypatch.undo()
    assert ends.ask() is not None


def test_an_engine_that_does_not_take_up_a_connection_is_not_waited_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(client, "_OPEN_S", 0.05)
    with sockets.make() as deaf:
        deaf.bind(str(tmp_path / "hop.sock"))
        deaf.listen()
        hop = Hop(tmp_path / "hop.sock")
        began_s = time.monotonic()
        for _ in range(5):
            assert hop.call("m", 1, "s", (), {"x": np.zeros(1)}, (), LONG_S) is None
        assert time.monotonic() - began_s < LONG_S / 2
        hop.close()
    assert caplog.text.count("takes longer: timed out") == 1  # for the next second nobody tries again


def test_nothing_is_left_open(tmp_path: Path) -> None:
    gc.collect()
    before = files()
    for _ in range(20):
        made = Ends(tmp_path)
        assert made.ask({"x": np.zeros(100_000)}) is not None
        made.hop.close()
        made.server.close(LONG_S)
    del made
    gc.collect()
    assert files() == before


def test_more_than_one_descriptor_is_not_taken(ends: Ends) -> None:
    """The kernel closes what there is no room for."""
    before = files()
    with sockets.make() as stranger, socket.socket() as other:
        stranger.connect(str(ends.path))
        assert stranger.recv(64) == sockets.HELLO
        rights: list[Any] = [other.fileno()] * 8
        socket.send_fds(stranger, [b"[]"], rights)
        assert stranger.recv(64) == b""
    until(lambda: files() == before)
