"""The express lanes: images that are posted as they are, and come together, are answered together.

A request that a thread handles by itself costs two hand-overs between threads, and the interpreter's lock at each. So
the thread that waits for all connections also reads what they bring. Posted images gather until a lane is free; then
one thread decodes, runs and answers all of them (`service/gateway/express/lane.py`). So the busier the service, the
more requests share a hand-over and a batch. Everything else goes its usual way (`wsgi.py`).

Each model has its lanes, so that no model waits for a slow one.
"""

import logging
import math
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from service.admission import Arrival, FrontQueue
from service.errors import SignpostError
from service.gateway.express.lane import Arrived, Express, Outcome
from service.gateway.express.posts import Post
from service.gateway.middleware.calls import Failure
from service.http.client_socket import NOT_YET
from service.http.connections import Connection, Connections, Waiting
from service.http.loop import Loop
from service.http.request_threads import RequestThreads
from service.http.wsgi import Request, Usual

log = logging.getLogger(__name__)

_CHUNK: Final = 128 * 1024
# Seconds in which the rest of a body must follow here; then a thread waits for it, by its own rules.
_PARTIAL_S: Final = 0.5
# Seconds for which a group may keep the thread that waits for all connections.
_QUICK_S: Final = 0.01


@dataclass(slots=True)
class _Boarding:
    """A post of which a part has come."""

    request: Request
    post: Post
    pieces: list[bytes] = field(default_factory=list)
    missing: int = 0


@dataclass(slots=True)
class _Waiting:
    """A post that is whole, and when it arrived."""

    request: Request
    post: Post
    arrival: Arrival


# An answered connection: whether it is kept, and what came behind its request.
_Ended = tuple[Connection, bool, bytes]


class Lanes:
    """See the module; all in the thread of the loop but `_answer` and what it calls.

    Args:
        express: answers posts.
        most: groups of one model that are answered at the same time.
        shares: threads of this worker for each of them; what a request is expected to wait is counted by it.
        loop: of this worker.
        threads: of this worker.
        queue: counts those that wait.
        connections: of this worker.
        usual: the way of what these lanes leave.
        keeps: whether connections are kept now.
        finish: called with a connection that is answered: whether it is kept, and what came behind.
    """

    def __init__(
        self,
        express: Express,
        *,
        most: int,
        shares: float,
        loop: Loop,
        threads: RequestThreads,
        queue: FrontQueue,
        connections: Connections,
        usual: Usual,
        keeps: Callable[[], bool],
        finish: Callable[[Connection, bool, bytes], None],
    ) -> None:
        """Nobody waits."""
        self._express = express
        self._most = most
        self._shares = shares
        self._loop = loop
        self._threads = threads
        self._queue = queue
        self._connections = connections
        self._usual = usual
        self._keeps = keeps
        self._finish = finish
        self._taken: Counter[str] = Counter()  # lanes, by model
        self._gathered: dict[str, list[_Waiting]] = {}  # by model
        self._boarding = Waiting()
        self._parts: dict[Connection, _Boarding] = {}
        self._takes_s: dict[str, float] = {}  # each post, of late, by model

    def take(self, request: Request) -> bool:
        """Have a request answered here, if it is one for these lanes."""
        post = self._express.post_of(request.head)
        if post is None or not post.is_usual(request.data):
            return False
        if request.is_whole:
            self._gather(request, post)
        else:
            assert post.head.length is not None  # or it would not be a post
            missing = post.head.length - len(request.data)
            boarding = _Boarding(request, post, [request.data], missing)
            self._parts[request.conn] = boarding
            self._boarding.add(request.conn, time.monotonic() + _PARTIAL_S)
            self._receive(boarding)  # it mostly follows at once
        return True

    @property
    def is_ready(self) -> bool:
        """Whether a group waits whose model has a free lane."""
        return any(self._taken[model] < self._most for model in self._gathered)

    def send_off(self) -> None:
        """Answer what has gathered, where a lane is free, and give up what comes slowly."""
        for model in [*self._gathered]:
            self._send_off(model)
        for conn in self._boarding.late(time.monotonic()):
            boarding = self._parts.pop(conn)
            boarding.request.data = b"".join(boarding.pieces)
            self._loop.disarm(conn.file)
            self._usual.submit(boarding.request)

    def _receive(self, boarding: _Boarding) -> None:
        conn = boarding.request.conn
        try:
            while boarding.missing > 0:
                piece = conn.sock.recv(max(_CHUNK, boarding.missing))
                if not piece:
                    break
                boarding.pieces.append(piece)
                boarding.missing -= len(piece)
        except NOT_YET:
            self._loop.await_bytes(conn.file, partial(self._receive, boarding))
            return
        except OSError:
            pass
        self._boarding.discard(conn)
        del self._parts[conn]
        if boarding.missing > 0:  # the client has left
            self._connections.close(conn)
            return
        request = boarding.request
        request.data = b"".join(boarding.pieces)
        if boarding.post.is_usual(request.data):
            self._gather(request, boarding.post)
        else:
            self._usual.submit(request)

    def _gather(self, request: Request, post: Post) -> None:
        post.body = request.data[: post.head.length]
        arrival = request.conn.arrival = self._queue.join()
        self._gathered.setdefault(post.name, []).append(_Waiting(request, post, arrival))

    def _send_off(self, model: str) -> None:
        waiting = self._gathered[model]
        while waiting and self._taken[model] < self._most:
            most, idle = self._express.look(model)
            group = waiting[:most]
            del waiting[:most]
            self._taken[model] += 1
            if idle and self._is_quick(model, len(group)):
                self._end(model, self._answer(model, group))
                break  # and look first for what has come meanwhile
            self._threads.submit(partial(self._answer_elsewhere, model, group))
        if not waiting:
            del self._gathered[model]

    def _is_quick(self, model: str, count: int) -> bool:
        """Whether so many posts are answered sooner here than handed over to a thread, and nobody else waits long."""
        return self._taken[model] == 1 and self._takes_s.get(model, math.inf) * count <= _QUICK_S

    def _answer_elsewhere(self, model: str, group: list[_Waiting]) -> None:
        self._loop.call_soon(partial(self._end, model, self._answer(model, group)))

    def _end(self, model: str, ended: list[_Ended]) -> None:
        """Free the lane, and keep or end the connections."""
        self._taken[model] -= 1
        if not self._taken[model]:
            del self._taken[model]
        for conn, keeps, rest in ended:
            self._finish(conn, keeps, rest)

    def _answer(self, model: str, group: list[_Waiting]) -> list[_Ended]:
        """Answer posts; returns those whose answers are sent. Never raises: in the loop that would end the worker."""
        began_s = time.monotonic()
        keeps = self._keeps()
        ended: list[_Ended] = []
        try:
            for one in group:
                self._queue.enter(one.arrival)
            taken = [one for one in group if not one.arrival.refused]
            found, count = self._outcomes(taken, keeps)
            outcomes = iter(found)
            takes_s = (time.monotonic() - began_s) / len(group)
            if any(isinstance(outcome, bytes) for outcome in found):
                self._takes_s[model] = (self._takes_s.get(model, takes_s) + takes_s) / 2
            for one in group:
                outcome = None if one.arrival.refused else next(outcomes)
                # What one request more would have to wait for, were there nothing but lanes.
                one.arrival.taken_s = takes_s * self._shares
                self._queue.leave(one.arrival, was_slow=not isinstance(outcome, bytes))
                if isinstance(outcome, bytes):
                    self._send(one, outcome, keeps, ended)
                else:
                    self._give_back(one, outcome)
            count()
        except Exception:
            log.exception("A group of answers failed unexpectedly after it was computed.")
        return ended

    def _outcomes(self, group: list[_Waiting], keeps: bool) -> tuple[list[Outcome], Callable[[], None]]:
        try:
            arrived = [Arrived(one.post, one.request.conn.sock, one.arrival.at_s) for one in group]
            return self._express.answer(arrived, keeps)
        except Exception:
            log.exception("The express lane failed unexpectedly; its requests take the usual path.")
            return [None] * len(group), lambda: None

    def _give_back(self, one: _Waiting, failure: Failure | None) -> None:
        """Have a request answered in the usual way, or refused with an error that the model gave here."""
        one.request.failure = failure
        self._usual.submit(one.request, refused=one.arrival.refused, at_s=one.arrival.at_s)

    def _send(self, one: _Waiting, answer: bytes, keeps: bool, ended: list[_Ended]) -> None:
        """Send an answer; a client that reads slowly is left to another thread."""
        conn, head = one.request.conn, one.request.head
        try:
            sent = conn.sock.send(answer)
        except NOT_YET:
            sent = 0
        except OSError:
            ended.append((conn, False, b""))
            return
        kept = keeps and head.keeps
        rest = one.request.data[len(one.post.body) :]
        if sent == len(answer):
            ended.append((conn, kept, rest))
        else:
            self._threads.submit(partial(self._send_rest, (conn, kept, rest), answer[sent:], self._queue.join()))

    def _send_rest(self, ended: _Ended, left: bytes, arrival: Arrival) -> None:
        conn, keeps, rest = ended
        self._queue.enter(arrival)  # it has left already, but may step aside, which only one that is inside can
        try:
            conn.sock.send_all(left)
        except (OSError, SignpostError):
            keeps = False
        finally:
            self._queue.leave(arrival)
            self._usual.step_back(conn)
            self._loop.call_soon(partial(self._finish, conn, keeps, rest))
