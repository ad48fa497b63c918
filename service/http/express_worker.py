"""Gunicorn's worker with an express lane: images that are posted as they are, and come together, are answered together.

A request that a thread handles by itself costs two hand-overs between threads, and the interpreter's lock at each.
Here the thread that waits for all connections also reads what they bring. Posted images gather until a lane is free;
then one thread decodes, runs and answers all of them (`service/gateway/express/lane.py`). So the busier the service,
the more requests share a hand-over and a batch. Everything else goes its usual way.

Each model has its lanes, so that no model waits for a slow one.
"""

import math
import os
import socket
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Final

from service.config.settings import Settings
from service.errors import SignpostError
from service.gateway.express import posts
from service.gateway.express.lane import Arrived, Express, Outcome
from service.gateway.express.posts import Post
from service.http.gunicorn_worker import Connection, JsonWorker

_CHUNK: Final = 128 * 1024
# Seconds in which a post that has begun to come is waited for here; then a thread waits, by its own rules.
_PARTIAL_S: Final = 0.5
# Seconds for which a group may keep the thread that waits for all connections.
_QUICK_S: Final = 0.01

# Told the model, and connections with whether each is kept.
_End = Callable[[str, list[tuple[Connection, bool]]], None]


class ExpressWorker(JsonWorker):
    """See the module. The application's extension `express`, if it has one, answers."""

    def init_process(self) -> None:
        """Make the lanes, then run."""
        self._express: Express | None = None
        self._lanes = lanes(self.app.settings)
        self._taken: Counter[str] = Counter()  # lanes, by model
        self._gathered: dict[str, list[tuple[Connection, Post]]] = {}  # by model
        self._partial: dict[Connection, tuple[bytes, float]] = {}  # what came, and since when
        self._takes_s: dict[str, float] = {}  # each post, of late, by model
        super().init_process()

    def load_wsgi(self) -> None:
        """Load the application."""
        super().load_wsgi()
        self._express = None if self.cfg.is_ssl else self.wsgi.extensions.get("express")

    def hand_over(self, conn: Connection) -> None:
        """Have the request that a connection brings answered."""
        conn.sock.failure = None
        if self._express is None or conn.arrival.refused or not self._meet(conn, self._express):
            super().hand_over(conn)

    def wait_for_and_dispatch_events(self, timeout: float) -> None:
        """Meet what has come, then let go what has gathered."""
        if any(self._taken[model] < self._lanes for model in self._gathered):
            timeout = 0.0
        super().wait_for_and_dispatch_events(timeout)
        if self._express is not None:
            for model in [*self._gathered]:
                self._send_off(model, self._express)

    def _refuse(self, conn: Connection) -> None:
        """Refuse a request, all of it: what of it was read already must not be missing before the rest."""
        data, _ = self._partial.pop(conn, (b"", 0.0))
        if data:
            _unread(conn, data)
        super()._refuse(conn)

    def murder_pending(self) -> None:
        """Give posts that come slowly to threads, and close connections that bring nothing."""
        now_s = time.monotonic()
        for conn in [conn for conn, (_, since_s) in self._partial.items() if now_s >= since_s + _PARTIAL_S]:
            data, _ = self._partial.pop(conn)
            self.pending_conns.remove(conn)
            self.poller.unregister(conn.sock)
            _unread(conn, data)
            self.enqueue_req(conn)
        super().murder_pending()

    def _meet(self, conn: Connection, express: Express) -> bool:
        """Read what has come; whether it is a posted image, or the begin of one, and so this worker's to answer."""
        if conn.parser is not None and conn.parser.unreader.buf.tell():
            return False  # some of it was read already
        data, since_s = self._partial.pop(conn, (b"", 0.0))
        post: Post | int | None = 0
        try:
            while isinstance(post, int):
                more = conn.sock.recv(max(_CHUNK, post), socket.MSG_DONTWAIT)
                data = data + more if data else more
                post = posts.read(data, express.max_body_bytes) if more else None
        except BlockingIOError:
            if data:  # it begins to wait for a thread once all of it is there
                self.begin(conn)
                self.end(conn, was_slow=True)
                self._partial[conn] = (data, since_s or time.monotonic())
                self._await_bytes(conn, self.pending_conns, self.on_pending_socket_readable, self._patience.header_s)
            return bool(data)
        except OSError:
            post = None
        if isinstance(post, Post) and not express.leaves(post):
            self._gathered.setdefault(post.name, []).append((conn, post))
            return True
        if data:
            _unread(conn, data)
        return False

    def _send_off(self, model: str, express: Express) -> None:
        waiting = self._gathered[model]
        while waiting and self._taken[model] < self._lanes:
            most, idle = express.look(model)
            group = waiting[:most]
            del waiting[:most]
            self._taken[model] += 1
            if idle and self._is_quick(model, len(group)):
                self._answer_group(model, group, self._end_group)
                break  # and look first for what has come meanwhile
            self.tpool.submit(
                partial(self._answer_group, model, group, partial(self.method_queue.defer, self._end_group))
            )
        if not waiting:
            del self._gathered[model]

    def _is_quick(self, model: str, count: int) -> bool:
        """Whether so many posts are answered sooner here than handed over to a thread, and nobody else waits long."""
        return self._taken[model] == 1 and self._takes_s.get(model, math.inf) * count <= _QUICK_S

    def _answer_group(self, model: str, group: list[tuple[Connection, Post]], end: _End) -> None:
        """Answer posts; `end` is called with the connections whose answers are sent."""
        began_s = time.monotonic()
        keeps = self.alive and not self.app.runtime.draining and len(self.keepalived_conns) < self.max_keepalived
        ended: list[tuple[Connection, bool]] = []
        try:
            for conn, _ in group:
                self.begin(conn)
            answered = [(conn, post) for conn, post in group if not conn.arrival.refused]
            found, count = self._outcomes(answered, keeps)
            outcomes = iter(found)
            takes_s = (time.monotonic() - began_s) / len(group)
            if any(isinstance(outcome, bytes) for outcome in found):
                self._takes_s[model] = (self._takes_s.get(model, takes_s) + takes_s) / 2
            # What one request more would have to wait for, were there nothing but lanes.
            share_s = takes_s * self.cfg.threads / self._lanes
            for conn, post in group:
                outcome = None if conn.arrival.refused else next(outcomes)
                conn.arrival.taken_s = share_s
                self.end(conn, was_slow=not isinstance(outcome, bytes))
                if isinstance(outcome, bytes):
                    self._send(conn, outcome, keeps, ended)
                else:
                    self._give_back(conn, post, outcome)
            count()
        except Exception:  # in the loop it would end the worker
            self.log.exception("A group of answers failed in an unforeseen way after it was made.")
        finally:
            end(model, ended)

    def _outcomes(self, group: list[tuple[Connection, Post]], keeps: bool) -> tuple[list[Outcome], Callable[[], None]]:
        try:
            assert self._express is not None  # or nothing would have gathered
            arrived = [Arrived(post, conn.sock, conn.arrival.at_s) for conn, post in group]
            return self._express.answer(arrived, keeps)
        except Exception:
            self.log.exception("The express lane failed in an unforeseen way; its requests go their usual way.")
            return [None] * len(group), lambda: None

    def _give_back(self, conn: Connection, post: Post, outcome: SignpostError | None) -> None:
        """Have a request answered in the usual way, as if nothing of it had been read, or refused with an error."""
        _unread(conn, post.data)
        conn.sock.failure = outcome
        arrival = self.app.front_queue.join(conn.arrival.refused)
        arrival.at_s = conn.arrival.at_s
        conn.arrival = arrival
        super().hand_over(conn)

    def _send(self, conn: Connection, answer: bytes, keeps: bool, ended: list[tuple[Connection, bool]]) -> None:
        """Send an answer; a client that reads slowly is left to another thread."""
        try:
            sent = conn.sock.send(answer)
        except BlockingIOError:
            sent = 0
        except OSError:
            ended.append((conn, False))
            return
        if sent == len(answer):
            ended.append((conn, keeps))
        else:
            self.tpool.submit(partial(self._send_rest, conn, answer[sent:], keeps))

    def _send_rest(self, conn: Connection, rest: bytes, keeps: bool) -> None:
        try:
            conn.sock.sendall(rest)
        except OSError:
            keeps = False
        finally:
            if conn.sock.aside:
                conn.sock.aside = False
                self.step_back()
            self.method_queue.defer(self._end, conn, keeps)

    def _end_group(self, model: str, ended: list[tuple[Connection, bool]]) -> None:
        """Free the lane, and keep or end the connections; in the main thread."""
        self._taken[model] -= 1
        if not self._taken[model]:
            del self._taken[model]
        for conn, keeps in ended:
            self._end(conn, keeps)

    def _close(self, conn: Connection) -> None:
        self._partial.pop(conn, None)
        super()._close(conn)

    def _end(self, conn: Connection, keeps: bool) -> None:
        if conn.parser is None:
            conn.init()
        self.finish_request(conn, keeps)


def _unread(conn: Connection, data: bytes) -> None:
    """Have the parser begin with what was read."""
    conn.init()
    conn.parser.unreader.unread(data)


def lanes(settings: Settings) -> int:
    """How many groups of one model are answered at the same time in a worker.

    One for each core that the worker may count as its own: while one group runs, the others are decoded. Where the
    models run elsewhere, one more, as a lane waits without using a core.
    """
    cores = max(1, len(os.sched_getaffinity(0)) // settings.workers)
    return min(settings.threads, cores + (settings.engine != "local"))
