"""The peers of a remote engine: looked after by one thread, and asked so that no request runs twice.

The thread asks each peer about once a second how it is and what it has; requests only read what it noted. It is
started by `start` (after any fork: a gRPC channel does not survive one) and stopped by `close`; an error of one round
is logged and the next goes on.

Peers have fixed addresses or stand behind a name (`names.py`), and come and go with its addresses: one that is gone is
asked nothing more, and its channel is closed when what it runs has ended.

A call goes to the peer with the fewest calls outstanding among those that have the version. It goes to a second one
only when it surely did not run at the first.
"""

import logging
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import grpc

from service.engine.remote import errors, names, peers
from service.engine.remote.errors import VersionGone
from service.engine.remote.link import Link
from service.engine.remote.names import Name, Resolve
from service.engine.remote.peers import Peer, Statuses
from service.errors import SignpostError, Unavailable
from service.interface import ModelSpec, VersionStatus

log = logging.getLogger(__name__)

# Seconds for which a request waits for a look at the peers out of turn.
_LOOK_S: Final = 5.0
# Seconds between two looks while a peer is dead, and between any two at least.
_HURRY_S: Final = 0.25
_LEAST_S: Final = 0.02
# Seconds for which the first look waits for names to be looked up.
_NAMES_S: Final = 2.0
# Seconds after which a peer whose address is gone is asked nothing aside any more, such as its health.
_ASIDE_S: Final = 5.0
_DEAD: Final = (logging.WARNING, "The engine at %s does not answer; it gets no requests until it does.")
_ALIVE: Final = (logging.INFO, "The engine at %s answers.")


class Fleet:
    """One or more peers as one.

    Args:
        addresses: `host:port` or `unix:/path` of each peer, or `dns:name:port` of several.
        told: names of models to ask for even if no peer lists them.
        poll_s: seconds between checks of the peers.
        found: called by the watcher with what it found before that becomes `models`; what it raises is logged.
        link: how calls reach the peers.
        resolve: looks names up.
    """

    def __init__(
        self,
        addresses: Sequence[str],
        *,
        told: Sequence[str],
        poll_s: float,
        found: Callable[[Statuses], None],
        link: Link,
        resolve: Resolve,
    ) -> None:
        """Connect to nothing yet; `start` begins."""
        self._link = link
        fixed = [address for address in addresses if not address.startswith(names.PREFIX)]
        self._fixed = {address: Peer(address, link) for address in fixed}
        self._names = [Name(each, resolve, self._hurry) for each in addresses if each.startswith(names.PREFIX)]
        self._peers = [*self._fixed.values()]  # replaced as a whole, by the watcher
        self._parted: dict[Peer, float] = {}  # those whose address is gone, and since when
        self._told = frozenset(told)
        self._learnt: frozenset[str] = frozenset()
        self._poll_s = poll_s
        self._found = found
        # Both replaced as a whole, by the watcher.
        self.models: Statuses = dict.fromkeys(sorted(told), ())
        self.reasons: Mapping[str, str] = {}  # why models have no version
        self._lock = threading.Lock()  # counts calls outstanding, and guards `_learnt`
        self._looked = threading.Condition()
        self._begun = self._ended = 0  # looks
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="remote-engine", daemon=True)

    def start(self) -> None:
        """Make the channels and start the thread that looks after the peers."""
        for peer in self._peers:
            peer.open()
        for name in self._names:
            name.start()
        self._thread.start()

    def close(self) -> None:
        """Stop the thread and close the channels; takes seconds at most."""
        self._stopping.set()
        self._wake.set()
        for name in self._names:
            name.close()
        if self._thread.is_alive():
            self._thread.join(2 * peers.HEALTH_TIMEOUT_S)
        for peer in (*self._peers, *self._parted):
            peer.close()

    @property
    def alive(self) -> bool:
        """Whether any peer answers."""
        return any(peer.alive for peer in self._peers)

    @property
    def silence(self) -> str:
        """What to say when no peer answers."""
        nameless = "; ".join(name.silence for name in self._names if not name.addresses)
        at = ", ".join(peer.shown for peer in self._peers)
        why = "; ".join(filter(None, (at and f"No engine answers at {at}", nameless)))
        return f"{why}; try again."

    @property
    def starting(self) -> bool:
        """Whether a peer that can list its models lists none: it has not begun to load them."""
        return any(peer.alive and peer.empty for peer in self._peers)

    @property
    def refused(self) -> bool:
        """Whether a peer does not take this process's API key, so that nobody knows what it has."""
        return any(peer.alive and peer.refused for peer in self._peers)

    def look_again(self) -> None:
        """Have the watcher look at the peers now, and wait for it, a bounded time."""
        with self._looked:
            wanted = self._begun + 1
            self._wake.set()
            self._looked.wait_for(lambda: self._ended >= wanted, _LOOK_S)

    def wait_for_first_look(self) -> None:
        """Wait until the peers were looked at once, a bounded time."""
        with self._looked:
            self._looked.wait_for(lambda: self._ended > 0, _LOOK_S)

    def learn(self, name: str) -> bool:
        """Find out whether a peer has a model of which nobody has spoken yet; it is then among `models`."""
        asked = [peer.ask_status(name) for peer in self._peers if peer.alive]
        if not any(map(peers.read_status, asked)):
            return False
        with self._lock:
            self._learnt |= {name}
        self.look_again()
        return True

    def ask(self, method: Any, request: Any, name: str, version: int | None, deadline: float) -> Any:
        """Call a peer that has a model; another one only if the call surely did not run at the first.

        Args:
            method: `Peer.predict` or `Peer.metadata`.
            request: its request.
            name: the model.
            version: the version; None where any peer may know.
            deadline: time (`time.monotonic()`) at which the call is given up.

        Raises:
            VersionGone: no peer has the version (or no longer).
            SignpostError: what else the peers say.
        """
        tried: list[Peer] = []
        failure: SignpostError | None = None
        while (peer := self._take(name, version, tried)) is not None:
            tried.append(peer)
            try:
                return method(peer, request, max(0.001, deadline - time.monotonic()))
            except grpc.RpcError as error:
                if errors.is_lost(error):
                    self._wake.set()
                failure = errors.in_our_words(error, peer.shown)
                if not errors.surely_did_not_run(error):
                    raise failure from error
            except ValueError as error:  # gRPC's word for a channel that was closed
                raise Unavailable("The engine is being closed; try again.") from error
            finally:
                with self._lock:
                    peer.outstanding -= 1
        if failure is None and self.alive:
            failure = VersionGone(f"Servable not found for request: {ModelSpec(name, version)}.")
        raise failure or Unavailable(self.silence)

    def _take(self, name: str, version: int | None, tried: Sequence[Peer]) -> Peer | None:
        """The peer with the fewest calls outstanding of those that can be asked, counted as having one more."""
        with self._lock:
            able = [
                peer
                for peer in self._peers
                if peer not in tried and (peer.alive if version is None else peer.serves(name, version))
            ]
            if not able:
                return None
            # Among equals any: many gateways must not all begin with the first.
            peer = min(able, key=lambda each: (each.outstanding, random.random()))
            peer.outstanding += 1
            return peer

    def _hurry(self) -> None:
        self._wake.set()

    def _watch(self) -> None:
        while not self._stopping.is_set():
            self._wake.clear()
            with self._looked:
                self._begun += 1
            try:
                self._look()
            except Exception:  # the thread's death would freeze what is known for ever
                if not self._stopping.is_set():
                    log.exception("A check of the remote engine failed; checks continue.")
            with self._looked:
                self._ended += 1
                self._looked.notify_all()
            self._stopping.wait(_LEAST_S)
            self._wake.wait(self._poll_s if all(peer.alive for peer in self._peers) else min(_HURRY_S, self._poll_s))

    def _look(self) -> None:
        """Ask every peer at the same time how it is, then what it has."""
        was_alive = {peer: peer.alive for peer in self._peers}
        self._keep_to_names()
        asked_health = [(peer, peer.ask_health()) for peer in self._peers]
        for peer, health in asked_health:
            peer.note_health(health)
        for peer in self._peers:
            before = was_alive.get(peer)  # None for a new one
            if before != peer.alive or (self._ended == 0 and not peer.alive):
                log.log(*(_ALIVE if peer.alive else _DEAD), peer.address, extra={"once": True})
                for name in self._names if before else ():
                    name.hurry()  # where it was, another may be
        alive = [peer for peer in self._peers if peer.alive]
        with self._lock:
            names = self._told | self._learnt | {name for peer in alive for name in (*peer.ready, *peer.astray)}
        asked = [(peer, {name: peer.ask_status(name) for name in sorted(names)}) for peer in alive]
        for peer, statuses in asked:
            peer.note_statuses(statuses)
        if alive:
            self.reasons = {name: reason for peer in alive for name, reason in sorted(peer.reasons.items())}
            self._note({name: peers.merge(peer.statuses.get(name, ()) for peer in alive) for name in sorted(names)})

    def _keep_to_names(self) -> None:
        """Make peers for new addresses, and part with those whose address is gone; they finish what they run."""
        if not self._names:
            return
        now_s = time.monotonic()
        for name in self._names:
            if self._ended == 0:
                name.wait_for_first(now_s + _NAMES_S - time.monotonic())
            name.tell_slowness()
        known = {peer.address: peer for peer in (*self._peers, *self._parted)}
        wanted = dict(self._fixed)
        for name in self._names:
            for address in sorted(name.addresses - wanted.keys()):
                peer = known.get(address)
                if peer is None:
                    peer = Peer(address, replace(self._link, name=name.host))
                    peer.open()
                wanted[address] = peer
        with self._lock:  # from here on no call begins at one that is gone
            gone = set(self._peers) - set(wanted.values())
            self._peers = [*wanted.values()]
        for peer in gone:
            peer.note_death()
            self._parted[peer] = now_s
        for peer, since_s in list(self._parted.items()):
            if peer in self._peers:  # its address came back
                del self._parted[peer]
            elif not peer.outstanding and now_s - since_s > _ASIDE_S:
                del self._parted[peer]
                peer.close()

    def _note(self, merged: Mapping[str, tuple[VersionStatus, ...]]) -> None:
        """Keep what was found; a name without a version is a model if it was told, or a peer says it is not ready."""
        models = {
            name: versions
            for name, versions in merged.items()
            if versions or name in self._told or any(not peer.ready.get(name, True) for peer in self._peers)
        }
        try:
            self._found(models)
        finally:
            self.models = models
            with self._lock:
                self._learnt &= models.keys()
