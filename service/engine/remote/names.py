"""Names that stand for several peers, `dns:NAME:PORT`: every address of a name is one.

`getaddrinfo` can't be cancelled and takes as long as the system's resolver likes, so each name is looked up by a thread
of its own, and nobody ever waits for that thread without a deadline. It is started by `Name.start`, after any fork, and
told to stop by `Name.close`, which does not wait for it: while it hangs in the resolver it holds nothing. It can't die
of an error; while it hangs, or look-ups fail, the addresses stay as they were.
"""

import logging
import socket
import threading
import time
from collections.abc import Callable, Collection
from typing import Final

log = logging.getLogger(__name__)

PREFIX: Final = "dns:"
# Seconds between two look-ups, and between any two at least.
EVERY_S: Final = 5.0
_LEAST_S: Final = 1.0
# Seconds after which a look-up is told to be slow.
_SLOW_S: Final = 10.0

# The addresses, `host:port`, of a name and a port; raises OSError where there are none, or it can't be said.
Resolve = Callable[[str, int], Collection[str]]


def by_system(name: str, port: int) -> list[str]:
    """The addresses as this machine's resolver says, from /etc/hosts, DNS, or whatever it is set up to ask.

    Raises:
        OSError: it says that there are none, or does not answer.
    """
    found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
    hosts = [str(address[0]) for *_, address in found]
    return [f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host in hosts]


class Name:
    """A name, and the addresses that it had at the last look-up that said any.

    Args:
        written: as the settings have it, `dns:NAME:PORT`.
        resolve: looks it up.
        changed: called by the thread when the addresses are others than before.
    """

    def __init__(self, written: str, resolve: Resolve, changed: Callable[[], None]) -> None:
        """Look nothing up yet; `start` begins."""
        self.host, _, port = written.removeprefix(PREFIX).rpartition(":")
        self._port = int(port)
        self._resolve = resolve
        self._changed = changed
        self.addresses: frozenset[str] = frozenset()  # replaced as a whole, by the thread
        self._failure = ""  # of the last look-up that ended
        self._begun_s: float | None = None  # a look-up that has not ended yet
        self._is_told = False  # that it is slow
        self._first = threading.Event()
        self._wake = threading.Event()
        self._stopping = threading.Event()
        # A daemon, as the resolver may never return.
        self._thread = threading.Thread(target=self._keep, name=f"names-{self.host}", daemon=True)

    def start(self) -> None:
        """Begin to look it up, again and again."""
        self._thread.start()

    def close(self) -> None:
        """Look it up no more; returns at once."""
        self._stopping.set()
        self._wake.set()

    def hurry(self) -> None:
        """Have it looked up soon: an address no longer answers."""
        self._wake.set()

    def wait_for_first(self, seconds: float) -> None:
        """Wait until it was looked up once, a bounded time."""
        self._first.wait(seconds)

    @property
    def silence(self) -> str:
        """Why it has no address, for people."""
        begun_s = self._begun_s
        if self._failure or begun_s is None:
            return f"{self.host} has no address ({self._failure or 'it has not been looked up yet'})"
        return f"{self.host} has been looked up for {time.monotonic() - begun_s:.0f} s"

    def tell_slowness(self) -> None:
        """Log where a look-up takes long, once for each; for whoever comes by now and then."""
        begun_s = self._begun_s
        if begun_s is not None and not self._is_told and time.monotonic() - begun_s > _SLOW_S:
            self._is_told = True
            log.warning(
                "The resolver has not answered for %.0f s which addresses %s has; %s.",
                _SLOW_S,
                self.host,
                self._meanwhile,
            )

    @property
    def _meanwhile(self) -> str:
        return "those it had stay in use" if self.addresses else "it has none so far"

    def _keep(self) -> None:
        while not self._stopping.is_set():
            self._wake.clear()
            self._begun_s = time.monotonic()
            try:
                self._note(frozenset(self._resolve(self.host, self._port)), "")
            except (OSError, UnicodeError) as error:  # the latter where it can't be a name at all
                self._note(frozenset(), getattr(error, "strerror", None) or str(error))
            except Exception as error:  # the thread's death would freeze the addresses for ever
                log.exception("Looking up %s failed unexpectedly; it will be looked up again.", self.host)
                self._note(frozenset(), type(error).__name__)
            self._begun_s, self._is_told = None, False
            self._first.set()
            if not self._stopping.wait(_LEAST_S):
                self._wake.wait(EVERY_S - _LEAST_S)

    def _note(self, addresses: frozenset[str], failure: str) -> None:
        if not addresses:
            failure = failure or "the resolver returns none"
            if failure != self._failure:
                log.warning("%s can't be looked up (%s); %s.", self.host, failure, self._meanwhile)
            self._failure = failure
            return
        self._failure = ""
        if addresses != self.addresses:
            log.info("%s has the addresses %s.", self.host, ", ".join(sorted(addresses)))
            self.addresses = addresses
            self._changed()
