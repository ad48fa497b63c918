"""Clients that speak TLS are waited for as others are, wherever their records end."""

import contextlib
import ssl
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from service.security import tls
from service.security.tls import TlsFiles
from tests.certificates import MISSING, make
from tests.unit.service.http.fronts import read_answers, running
from tests.unit.service.http.test_front import LAST, SETTINGS, engine, post

pytestmark = pytest.mark.skipif(bool(MISSING), reason=MISSING)

Contexts = tuple[Callable[[], ssl.SSLContext], ssl.SSLContext]


@pytest.fixture(scope="module")
def contexts(tmp_path_factory: pytest.TempPathFactory) -> Contexts:
    """The service's, and a client's."""
    pair = make(Path(tmp_path_factory.mktemp("tls")), "localhost")
    theirs = ssl.create_default_context(cafile=str(pair.certificate))
    theirs.check_hostname = False
    return tls.http_contexts(TlsFiles(pair.certificate, pair.key)).now, theirs


@contextlib.contextmanager
def talking(contexts: Contexts, body_timeout_s: float = 0.5) -> Iterator[ssl.SSLSocket]:
    ours, theirs = contexts
    settings = replace(SETTINGS, body_timeout_s=body_timeout_s)
    with (
        running(engine(), settings, tls=ours) as front,
        front.client() as plain,
        theirs.wrap_socket(plain, server_hostname="localhost") as client,
    ):
        client.settimeout(30)
        yield client


def test_the_next_request_in_the_record_that_ends_a_body_is_answered(contexts: Contexts) -> None:
    """The kernel tells of such a record once, and the body takes a part of it."""
    with talking(contexts, body_timeout_s=60) as client:
        asked = post(headers=b"Content-Type: application/json\r\nExpect: 100-continue\r\n")
        head = asked.index(b"\r\n\r\n") + 4
        client.sendall(asked[:head])
        assert client.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(asked[head:] + LAST)
        assert [told.status for told in read_answers(client)] == [400, 200]


def test_silence_after_the_handshake_ends_without_a_word(contexts: Contexts) -> None:
    with talking(contexts) as client:
        assert read_answers(client) == []
