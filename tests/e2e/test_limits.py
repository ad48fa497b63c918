"""Clients that are slow, silent or many, and requests beyond the limits, against the real process by raw sockets."""

import contextlib
import gzip
import json
import random
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import requests

from tests.e2e.processes import Server, serving

CROWD = 51  # clients, many times the threads
SLOW_S = 10  # seconds that a slow client has
LIMITS = (
    "--threads=2",
    f"--header-timeout-s={SLOW_S}",
    f"--body-timeout-s={SLOW_S}",
    "--max-body-bytes=100000",
    "--max-header-fields=20",
    "--max-header-field-bytes=1000",
    "--max-request-line-bytes=500",
    "--max-json-depth=10",
    "--max-connections=200",
)
HEAD = b"POST /v1/models/circles:predict HTTP/1.1\r\nHost: signpost\r\n"
CLOSE = HEAD + b"Connection: close\r\n"


@pytest.fixture(scope="module")
def server(circles_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(circles_store, tmp_path_factory.mktemp("limits"), *LIMITS) as running:
        yield running


@contextmanager
def crowd(server: Server, sends: bytes, count: int = CROWD) -> Iterator[list[socket.socket]]:
    """So many clients that each connect and send the same."""
    with ExitStack() as held:
        clients = []
        for _ in range(count):
            client = held.enter_context(socket.create_connection(("127.0.0.1", server.rest_api_port), timeout=60))
            client.sendall(sends)
            clients.append(client)
        yield clients


def answer(client: socket.socket) -> tuple[int, dict[str, str]]:
    """Status and body of an answer after which the service closes."""
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while piece := client.recv(65536):
            received += piece
    head, _, body = received.partition(b"\r\n\r\n")
    assert b"connection: close" in head.lower()
    return int(head.split(b" ")[1]), json.loads(body)


def ask(server: Server, sends: bytes) -> tuple[int, dict[str, str]]:
    with crowd(server, sends, 1) as (client,):
        return answer(client)


def check_answers(server: Server, picture: bytes) -> None:
    """Others are answered, by new connections, sooner than any slow client is given up."""
    for _ in range(3):
        answer = requests.post(server.predict_url(), data=picture, timeout=SLOW_S * 0.9)
        assert answer.status_code == 200, answer.text


def test_a_crowd_of_slow_senders_keeps_nobody_waiting(server: Server, pictures: dict[int, bytes]) -> None:
    body = HEAD + b"Content-Type: image/png\r\nContent-Length: 5000\r\n\r\nabc"
    chunks = HEAD + b"Content-Type: image/png\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc"
    stages = {HEAD: "header", body: "body", chunks: "body"}
    with ExitStack() as held:
        crowds = {sends: held.enter_context(crowd(server, sends, CROWD // 3)) for sends in stages}
        check_answers(server, pictures[2])
        for sends, stage in stages.items():
            status, told = answer(crowds[sends][0])
            assert status == 408
            assert f"{stage} took longer than the {SLOW_S} s" in told["error"]


def test_clients_that_never_close_keep_nobody_waiting(server: Server, pictures: dict[int, bytes]) -> None:
    with crowd(server, b"GET /healthz HTTP/1.1\r\nHost: signpost\r\nConnection: close\r\n\r\n", 20) as clients:
        check_answers(server, pictures[2])
        assert answer(clients[0])[0] == 200


def test_clients_that_do_not_read_keep_nobody_waiting(server: Server, pictures: dict[int, bytes]) -> None:
    with crowd(server, b"GET /openapi.json HTTP/1.1\r\nHost: signpost\r\n\r\n" * 100, 10):
        check_answers(server, pictures[2])


def test_of_too_many_connections_the_longest_idle_goes(server: Server, pictures: dict[int, bytes]) -> None:
    with crowd(server, b"", 250) as clients:
        check_answers(server, pictures[2])
        assert clients[0].recv(1) == b""  # it had been silent for longest
        clients[-1].sendall(b"GET /healthz HTTP/1.1\r\nHost: signpost\r\nConnection: close\r\n\r\n")
        assert answer(clients[-1])[0] == 200


def test_at_that_limit_connections_come_and_go_and_no_worker_ends(server: Server, pictures: dict[int, bytes]) -> None:
    """One that goes for a new one may have ended itself, or have brought a request, at the very same moment."""

    def come_and_go(seed: int) -> None:
        rng, held = random.Random(seed), list[socket.socket]()
        with contextlib.ExitStack() as clients:
            for _ in range(250):
                with contextlib.suppress(OSError):  # it was the one to go
                    client = clients.enter_context(socket.create_connection(("127.0.0.1", server.rest_api_port), 60))
                    client.sendall(b"GET /healthz HTTP/1.1\r\nHost: signpost\r\n\r\n"[: rng.choice((20, 100))])
                    held.append(client)
                while len(held) > 40:
                    held.pop(rng.randrange(len(held))).close()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(come_and_go, range(8)))
    check_answers(server, pictures[2])
    assert "Exception in worker" not in server.log.read_text()


def test_a_slow_client_within_its_time_is_answered(server: Server, pictures: dict[int, bytes]) -> None:
    picture = pictures[2]
    head = CLOSE + b"Content-Type: image/png\r\nContent-Length: %d\r\n\r\n" % len(picture)
    with crowd(server, head, 4) as clients:  # twice the threads
        check_answers(server, picture)
        for client in clients:
            client.sendall(picture)
        assert {answer(client)[0] for client in clients} == {200}


@pytest.mark.parametrize(
    ("sends", "status", "says"),
    [
        (b"NONSENSE\r\n\r\n", 400, "first line"),
        (b"GET /" + b"a" * 600 + b" HTTP/1.1\r\n\r\n", 414, "500 bytes"),
        (HEAD + b"X: " + b"a" * 2000 + b"\r\n\r\n", 431, "1000 bytes"),
        (HEAD + b"X: a\r\n" * 30 + b"\r\n", 431, "20 fields"),
        (HEAD + b"Expect: tea\r\n\r\n", 417, "100-continue"),
        (HEAD + b"Transfer-Encoding: br, chunked\r\n\r\n", 501, "chunked"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", 400, "chunk"),
        (CLOSE + b"Transfer-Encoding: chunked\r\n\r\n" + (b"4000\r\n" + b"a" * 0x4000 + b"\r\n") * 7, 413, "100000"),
        (CLOSE + b"Content-Length: 99999999\r\n\r\n", 413, "100000 bytes"),
    ],
)
def test_each_limit_has_its_status_and_says_what_it_is(server: Server, sends: bytes, status: int, says: str) -> None:
    got, body = ask(server, sends)
    assert got == status
    assert says in body["error"]


def test_what_comes_out_of_a_body_is_limited(server: Server, pictures: dict[int, bytes]) -> None:
    headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
    deep = requests.post(server.predict_url(), data=b"[" * 11 + b"]" * 11, timeout=60)
    assert deep.status_code == 400
    assert "more than 10 lists" in deep.json()["error"]
    bomb = requests.post(server.predict_url(), data=gzip.compress(b" " * 10**7), headers=headers, timeout=60)
    assert bomb.status_code == 413
    packed = gzip.compress(pictures[2])
    headers["Content-Type"] = "image/png"
    assert requests.post(server.predict_url(), data=packed, headers=headers, timeout=60).status_code == 200
