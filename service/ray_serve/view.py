"""A replica's side of what the replicas agree on: asks where they do four times a second, and answers from memory.

Its thread is started by `start` and stopped by `leave`; an error of one look is logged and the next goes on. While
nobody can be asked, what was known last holds.
"""

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from typing import Any, Final, Protocol

from service.engine.local.agreement import Offer, View
from service.ray_serve.agreement import Known

log = logging.getLogger(__name__)

_LOOK_S: Final = 0.25
_ASK_S: Final = 5.0


class Ask(Protocol):
    """Calls a method of `Agreement`, wherever that is."""

    def __call__(self, method: str, /, *arguments: Any) -> "Future[Any]":
        """Its answer when it comes; raises an error of any kind, or its future does, where nobody can be asked."""
        ...


class ReplicaView:
    """The view by which all replicas answer; see `service.engine.local.shared_view.AnyView`.

    Args:
        replica: a number that no other replica has.
        ask: calls where they agree.
        look_s: seconds between checks.
    """

    look_s = 0.1

    def __init__(self, replica: int, ask: Ask, look_s: float = _LOOK_S) -> None:
        """Know nothing yet."""
        self._replica = replica
        self._ask = ask
        self._every_s = look_s
        self._known = Known()  # replaced as a whole
        self._lock = threading.Lock()  # for what is replaced: answers may overtake each other
        self._offering = threading.Lock()  # offers are made one after the other
        self._serves = False
        self._offered: Offer | None = None  # as it was taken last
        self._stop = threading.Event()
        self._silent = False
        self._thread = threading.Thread(target=self._look, name="agreement", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    @property
    def now(self) -> View:
        """See `AnyView`."""
        return self._known.view

    @property
    def generation(self) -> int:
        """See `AnyView`."""
        return self._known.generation

    def offer(self, offer: Offer, without: tuple[str, int] | None = None) -> bool:
        """See `AnyView`."""
        with self._offering:
            offer = replace(offer, serves=self._serves)
            taken = bool(self._told("offer", self._replica, self._known, offer, without))
            if taken:
                self._offered = offer
            return taken

    def join(self, offer: Offer, ready: bool, alone: bool) -> bool:
        """See `AnyView`; no replica knows that it is `alone`."""
        with self._offering:
            joined = bool(self._told("join", self._replica, self._known, offer, ready or alone))
            if joined:
                self._serves, self._offered = True, replace(offer, serves=True)
            return joined

    def leave(self) -> None:
        """See `AnyView`."""
        self._stop.set()
        self._get("leave", self._replica)

    def call(self) -> int:
        """See `AnyView`."""
        self._note(self._get("call"))
        return self.generation

    def is_settled(self, generation: int) -> bool:
        """See `AnyView`."""
        return bool(self._get("is_settled", max(generation, self.generation)))

    def _look(self) -> None:
        while not self._stop.wait(self._every_s):
            try:
                if not self._told("sync", self._replica, self._known):
                    with self._offering:
                        if self._serves:
                            self._told("offer", self._replica, self._known, self._offered, None)
                self._silent = False
            except OSError as error:
                if not self._silent:
                    log.warning("What the replicas agree on is not known: %s; retrying.", error.strerror)
                self._silent = True
            except Exception:  # the thread's death would leave this replica behind for ever
                log.exception("A check of what the replicas agree on failed; checks continue.")

    def _told(self, method: str, *arguments: Any) -> Any:
        known, answer = self._get(method, *arguments)
        self._note(known)
        return answer

    def _note(self, known: Known) -> None:
        with self._lock:
            if known.generation > self._known.generation:
                self._known = known

    def _get(self, method: str, *arguments: Any) -> Any:
        try:
            return self._ask(method, *arguments).result(_ASK_S)
        except Exception as error:
            raise OSError(0, f"they can't be asked ({type(error).__name__})") from error


def asker(handle: Callable[[], Any]) -> Ask:
    """Calls the methods of an actor of Ray's, which is looked for again once it has not answered.

    Args:
        handle: finds it, or starts it.
    """
    found: list[Any] = []

    def ask(method: str, /, *arguments: Any) -> "Future[Any]":
        if not found:
            found.append(handle())
        future: Future[Any] = getattr(found[0], method).remote(*arguments).future()
        future.add_done_callback(lambda done: found.clear() if done.exception() is not None else None)
        return future

    return ask
