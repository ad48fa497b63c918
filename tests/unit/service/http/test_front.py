"""A worker's front over real sockets: what is odd is refused in one way, and costs nobody else anything."""

import contextlib
import json
import logging
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from service.config.settings import Settings
from service.security import tls
from service.security.tls import TlsFiles
from tests.certificates import MISSING, make
from tests.fakes import FakeEngine, classifier
from tests.unit.service.gateway.pictures import WHITE
from tests.unit.service.http.fronts import Running, Told, read_answers, running
from tests.unit.service.message.heads_table import CASES, REFUSED, TAKEN, Case

SETTINGS = Settings(
    threads=2, max_body_bytes=20_000, header_timeout_s=0.5, body_timeout_s=0.5, answer_timeout_s=0.5, access_log=True
)
LETTERS = b"/v1/models/letters:predict"
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n"
LAST = b"GET /healthz HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"


def engine() -> FakeEngine:
    return FakeEngine(classifier("letters", 1, ("A", "B", "C")))


def post(image: bytes = WHITE, headers: bytes = b"Content-Type: image/png\r\n", target: bytes = LETTERS) -> bytes:
    return b"POST %s HTTP/1.1\r\nHost: h\r\n%sContent-Length: %d\r\n\r\n%s" % (target, headers, len(image), image)


@pytest.fixture(scope="module")
def front() -> Iterator[Running]:
    with running(engine(), SETTINGS) as made:
        yield made


def check_manners(told: Told) -> None:
    """Every answer has these, whoever writes it."""
    assert {"date", "x-request-id", "server-timing", "content-type", "content-length", "connection"} <= set(
        told.headers
    )
    assert told.headers["x-content-type-options"] == "nosniff"
    assert "lane;desc=" in told.headers["server-timing"]
    if told.status >= 400:
        assert told.error


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_what_servers_are_known_to_read_differently(front: Running, case: Case) -> None:
    """What is refused is answered once, and the connection closes: nothing behind it is taken for a request."""
    answers = front.ask(case.data + LAST)
    for told in answers:
        check_manners(told)
    if case.expected == TAKEN:
        assert answers[0].status < 500
        assert len(answers) == (1 if case.closes else 2)
    else:
        assert [told.status for told in answers] == [400 if case.expected == REFUSED else int(case.expected)]
        assert answers[0].headers["connection"] == "close"


def test_a_head_in_single_bytes(front: Running) -> None:
    assert front.ask(*(bytes([byte]) for byte in LAST))[0].status == 200


def test_an_image_in_single_bytes(front: Running) -> None:
    sent = post(headers=b"Content-Type: image/png\r\nConnection: close\r\n")
    [told] = front.ask(*(bytes([byte]) for byte in sent))
    assert json.loads(told.body)["predictions"][0]["class"] == "C"


def test_pipelined_requests_are_answered_in_order(front: Running) -> None:
    answers = front.ask(
        HEALTH + post() + HEALTH + post(b"junk") + post() + post(target=b"/v1/models/no:predict") + LAST
    )
    assert [told.status for told in answers] == [200, 200, 200, 400, 200, 404, 200]


def test_pipelined_requests_end_with_the_one_that_is_bad(front: Running) -> None:
    answers = front.ask(HEALTH + post() + b"GET / HTTP/1.1\r\nHost : h\r\n\r\n" + HEALTH)
    assert [told.status for told in answers] == [200, 200, 400]


def test_each_refusal_is_counted_and_logged(front: Running, caplog: pytest.LogCaptureFixture) -> None:
    counted = front.counted("signpost_requests_total").get(("", "none", "400", ""), 0.0)
    fronts = front.counted("signpost_lane_requests_total").get(("front",), 0.0)
    with caplog.at_level(logging.INFO):
        [told] = front.ask(b"NONSENSE\r\n\r\n")
    assert front.counted("signpost_requests_total")[("", "none", "400", "")] == counted + 1
    assert front.counted("signpost_lane_requests_total")[("front",)] == fronts + 1
    lines = [record.fields for record in caplog.records if hasattr(record, "fields")]
    assert lines[-1]["request_id"] == told.headers["x-request-id"]
    assert lines[-1]["status"] == 400


def test_expect_is_answered_only_where_the_body_is_wanted(front: Running) -> None:
    asks = (
        b"POST %s HTTP/1.1\r\nHost: h\r\nContent-Type: image/png\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n"
    )
    with front.client() as client:
        client.sendall(asks % (LETTERS, len(WHITE)))
        assert client.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(WHITE)
        assert read_answers(client, 1)[0].status == 200
    with front.client() as client:
        client.sendall(asks % (LETTERS, 1_000_000))
        [told] = read_answers(client)  # refused before a byte of it was sent
        assert (told.status, told.headers["connection"]) == (413, "close")


def test_targets_that_are_not_paths(front: Running) -> None:
    assert front.ask(b"GET http://h/healthz HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")[0].status == 200
    assert front.ask(b"OPTIONS * HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")[0].status == 404


def test_a_chunked_body_with_extensions_and_trailers(front: Running) -> None:
    half = len(WHITE) // 2
    body = b'%x;a="b"\r\n%s\r\n%x\r\n%s\r\n0\r\nX: y\r\n\r\n' % (half, WHITE[:half], len(WHITE) - half, WHITE[half:])
    head = b"POST %s HTTP/1.1\r\nHost: h\r\nContent-Type: image/png\r\nTransfer-Encoding: chunked\r\n\r\n" % LETTERS
    answers = front.ask(head + body + LAST)
    assert [told.status for told in answers] == [200, 200]


def test_a_client_that_closes_after_half_a_body_is_forgotten(front: Running) -> None:
    asked = len(front.engine.servables[0].asked)
    for headers in (b"Content-Type: image/png\r\n", b"Content-Type: application/json\r\n"):
        with front.client() as client:
            client.sendall(post(headers=headers)[:-5])
    assert front.ask(LAST)[0].status == 200
    assert len(front.engine.servables[0].asked) == asked


def test_clients_that_never_read_cost_nobody_else_anything(front: Running) -> None:
    with contextlib.ExitStack() as held:
        for _ in range(4):  # twice the threads
            client = held.enter_context(front.client())
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            with contextlib.suppress(TimeoutError):
                client.settimeout(0.2)
                client.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: h\r\n\r\n" * 2000)
        assert front.ask(LAST)[0].status == 200


def test_half_a_head_has_its_time_and_silence_ends_without_a_word(front: Running) -> None:
    [told] = front.ask(b"GET / HTTP/1.1\r\nHo")
    check_manners(told)
    assert told.status == 408
    assert "0.5 s" in told.error
    assert front.ask() == []


def test_a_body_that_comes_slowly_has_its_time(front: Running) -> None:
    with front.client() as client:
        client.sendall(post()[:-3])
        [told] = read_answers(client)
    check_manners(told)
    assert (told.status, told.headers["connection"]) == (408, "close")


def test_http_1_0(front: Running) -> None:
    [told] = front.ask(post().replace(b"HTTP/1.1", b"HTTP/1.0"))
    assert (told.status, told.headers["connection"]) == (200, "close")
    with front.client() as client:
        for _ in range(2):
            client.sendall(post(headers=b"Content-Type: image/png\r\nConnection: keep-alive\r\n"))
            assert read_answers(client, 1)[0].headers["connection"] == "keep-alive"


def test_head_is_answered_as_get_without_a_body(front: Running) -> None:
    with front.client() as client:
        client.sendall(LAST.replace(b"GET", b"HEAD"))
        received = client.makefile("rb").read()
    assert received.startswith(b"HTTP/1.1 200 ")
    assert received.endswith(b"\r\n\r\n")


def test_names_with_underscores_stand_for_no_other(front: Running) -> None:
    [told] = front.ask(LAST.replace(b"Host: h", b"Host: h\r\nX_Request_ID: mine"))
    assert told.headers["x-request-id"] != "mine"


def test_a_service_that_drains_closes_what_it_answers() -> None:
    with running(engine(), SETTINGS) as front, front.client() as client:
        client.sendall(post())
        assert read_answers(client, 1)[0].headers["connection"] == "keep-alive"
        front.service.draining = True
        for sent in (post(), HEALTH):
            with front.client() as other:
                other.sendall(sent)
                assert [told.headers["connection"] for told in read_answers(other)] == ["close"]


def until_refused(front: Running) -> None:
    """Wait until a worker that was told to stop has closed its listeners."""
    for _ in range(1000):
        try:
            with front.client():
                time.sleep(0.01)
        except ConnectionRefusedError:
            return
        except ConnectionResetError:  # the kernel had taken it, just before
            continue
    raise AssertionError("It still listens.")


def test_a_worker_that_stops_answers_what_it_accepted() -> None:
    with running(engine(), SETTINGS) as front, front.client() as client, front.client() as late:
        client.sendall(post()[:-1])
        late.sendall(HEALTH)
        assert read_answers(late, 1)[0].status == 200
        front.stop.set()
        front.front.wake()
        until_refused(front)
        client.sendall(post()[-1:])
        [told] = read_answers(client)
        assert (told.status, told.headers["connection"]) == (200, "close")
        late.sendall(HEALTH)  # a client may have begun to send it already
        assert [told.status for told in read_answers(late)] == [200]


@pytest.mark.skipif(bool(MISSING), reason=MISSING)
def test_tls(tmp_path_factory: pytest.TempPathFactory) -> None:
    pair = make(tmp_path_factory.mktemp("tls"), "localhost")
    contexts = tls.http_contexts(TlsFiles(pair.certificate, pair.key))
    with running(engine(), SETTINGS, tls=contexts.now) as front:
        context = tls.ssl.create_default_context(cafile=str(pair.certificate))
        context.check_hostname = False
        with front.client() as plain, context.wrap_socket(plain, server_hostname="localhost") as client:
            for sent in (post(), HEALTH, post(b"junk"), post(WHITE + bytes(10_000))):
                client.sendall(sent)
                [told] = read_answers(client, 1)
                check_manners(told)
            client.sendall(post())
            [told] = read_answers(client, 1)
            assert "lane;desc=express" in told.headers["server-timing"]
        [told] = front.ask(HEALTH)
        check_manners(told)
        assert "https://" in told.error
        assert front.ask(b"\x16" + bytes(100)) == []
        with front.client() as client:
            client.sendall(b"\x16\x03")  # a handshake that does not go on
            assert read_answers(client) == []


def test_the_listener_takes_no_more_than_there_may_be() -> None:
    with running(engine(), replace(SETTINGS, max_connections=16)) as front, contextlib.ExitStack() as held:
        clients = [held.enter_context(front.client()) for _ in range(40)]
        assert clients[0].recv(1) == b""  # it had been silent for longest
        clients[-1].sendall(LAST)
        assert read_answers(clients[-1])[0].status == 200


def test_many_clients_at_once_each_get_their_own_answer(front: Running) -> None:
    failed: list[object] = []

    def ask(number: int) -> None:
        with front.client() as client:
            for turn in range(30):
                name = b"%d-%d" % (number, turn)
                kind = b"image/png" if (number + turn) % 2 else b"application/json"
                client.sendall(post(headers=b"Content-Type: %s\r\nX-Request-ID: %s\r\n" % (kind, name)))
                [told] = read_answers(client, 1)
                if told.headers["x-request-id"].encode() != name:
                    failed.append((name, told))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(16)]
    began_s = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failed
    assert time.monotonic() - began_s < 60
