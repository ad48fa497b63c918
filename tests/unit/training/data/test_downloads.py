"""Archives from an HTTP server of the test's own."""

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from training.data.downloads import Archive, fetch, fetch_all
from training.errors import TrainingError

CONTENT = bytes(range(256)) * 4000


class Handler(BaseHTTPRequestHandler):
    """Serves CONTENT, in ranges when asked to; `breaks` requests break off half way."""

    breaks = 0
    ranges = True
    asked: list[str | None] = []  # noqa: RUF012 - the fixture makes a class of its own

    def do_GET(self) -> None:
        """Answer."""
        wanted = self.headers.get("Range")
        self.asked.append(wanted)
        if self.path != "/data.zip":
            self.send_error(404)
            return
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and self.ranges else 0
        if start >= len(CONTENT):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        stop = len(CONTENT)
        if type(self).breaks:
            type(self).breaks -= 1
            stop = start + (stop - start) // 2
        self.wfile.write(CONTENT[start:stop])

    def log_message(self, *_: object) -> None:
        """Stay silent."""


class Server:
    def __init__(self) -> None:
        self.handler = type("Own", (Handler,), {"asked": []})
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), self.handler)
        self.archive = Archive(
            f"http://127.0.0.1:{self.http.server_port}/data.zip", hashlib.sha256(CONTENT).hexdigest()
        )


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    thread = threading.Thread(target=made.http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield made
    made.http.shutdown()
    made.http.server_close()
    thread.join()


def quiet(_: str) -> None:
    pass


def test_it_is_fetched_once(server: Server, tmp_path: Path) -> None:
    (first,) = fetch_all([server.archive], tmp_path, quiet)
    (again,) = fetch_all([server.archive], tmp_path, quiet)
    assert first == again
    assert first.read_bytes() == CONTENT
    assert [path.name for path in first.parent.iterdir()] == ["data.zip"]
    assert server.handler.asked == [None]


@pytest.mark.parametrize("ranges", [True, False])
def test_a_download_that_broke_off_goes_on(server: Server, tmp_path: Path, ranges: bool) -> None:
    server.handler.breaks = 1
    server.handler.ranges = ranges
    with pytest.raises(TrainingError, match=r"was cut off after 512000 of 1024000 bytes.*run the command again"):
        fetch(server.archive, tmp_path, quiet)
    assert not (tmp_path / "data.zip").exists()
    assert fetch(server.archive, tmp_path, quiet).read_bytes() == CONTENT
    assert server.handler.asked == [None, "bytes=512000-"]


def test_a_part_that_is_whole_is_only_checked(server: Server, tmp_path: Path) -> None:
    (tmp_path / "data.zip.part").write_bytes(CONTENT)
    assert fetch(server.archive, tmp_path, quiet).read_bytes() == CONTENT


def test_another_content_is_refused_and_removed(server: Server, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="has changed"):
        fetch(Archive(server.archive.url, "0" * 64), tmp_path, quiet)
    assert not list(tmp_path.iterdir())


def test_without_a_network_it_says_what_to_fetch_and_where_to_put_it(server: Server, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=rf"missing\.zip can't be fetched .*--data.*{tmp_path}/missing\.zip"):
        fetch(Archive(server.archive.url.replace("data", "missing"), ""), tmp_path, quiet)
    with pytest.raises(TrainingError, match="can't be fetched"):
        fetch(Archive("http://127.0.0.1:9/data.zip", ""), tmp_path, quiet)


def test_a_cache_that_can_not_be_written_says_so(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(TrainingError, match="can't be written"):
        fetch(server.archive, tmp_path / "file", quiet)
