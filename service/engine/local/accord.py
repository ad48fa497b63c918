"""This worker's side of what the workers of a service agree on: what it tells them, and what it goes by."""

import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from service.engine.local.agreement import NO_OFFER, ModelOffer, Offer, View
from service.engine.local.lifecycle import Version
from service.engine.local.shared_view import AnyView

log = logging.getLogger(__name__)

# After so many seconds the log tells of a version that is loaded here and waits for other workers.
_HELD_UP_S: Final = 60.0
# Seconds between checks of what other processes have done, while `settle` waits for them.
_LOOK_S: Final = 0.02


class Accord:
    """See the module. An error of telling the others is logged, and it is tried again after the next look.

    Args:
        view: by which all workers answer.
        make_offer: says what this worker has and wants, but for one version where it is given one.
        complain: logs a warning, the same one now and then.
    """

    def __init__(
        self, view: AnyView, make_offer: Callable[[Version | None], Offer], complain: Callable[[str], None]
    ) -> None:
        """Tell nothing yet."""
        self._view = view
        self._make_offer = make_offer
        self._complain = complain
        self._lock = threading.Lock()  # offers are made and told one after the other
        self._made: Offer = Offer()
        self._told: Offer | None = None
        self._waits_since_s: dict[Version, float] = {}  # loaded here, and not in every worker

    @property
    def view(self) -> View:
        """By which all workers answer at this moment."""
        return self._view.now

    @property
    def generation(self) -> int:
        """Grows whenever the view changes or all workers are called to look at the store."""
        return self._view.generation

    def offered(self, name: str) -> ModelOffer:
        """What this worker has offered last of a model."""
        return self._made.models.get(name, NO_OFFER)

    def tell(self) -> None:
        """Tell the others what this worker has and wants, if that has changed."""
        with self._lock:
            self._made = self._make_offer(None)
            if self._made != self._told:
                self._told = None
                if self._try(lambda: self._view.offer(self._made)):
                    self._told = self._made

    def withdraw(self, version: Version) -> bool:
        """Have the others count on a version here no longer; False if requests are led to it just now."""
        with self._lock:
            offer = self._make_offer(version)
            withdrawn = self._try(lambda: self._view.offer(offer, without=version))
            if withdrawn:
                self._made = self._told = offer
            return withdrawn

    def join(self, ready: bool, alone: bool) -> bool:
        """Have the others wait for this worker from now on, as it takes requests; see `LocalEngine.join`."""
        with self._lock:
            self._made = self._make_offer(None)
            joined = self._try(lambda: self._view.join(self._made, ready, alone))
            self._told = self._made if joined else None
            return joined

    def leave(self) -> None:
        """Have the others wait no longer."""
        with suppress(OSError):  # whoever sees this process end tells them
            self._view.leave()

    def settle(self, wake: Callable[[], None], timeout_s: float) -> bool:
        """Have every worker look at the store, and wait until each has found nothing to do.

        Args:
            wake: has this one look at once.
            timeout_s: seconds to wait at most.

        Returns:
            Whether that was so.
        """
        until_s = time.monotonic() + timeout_s
        look = 0

        def call() -> bool:
            nonlocal look
            look = self._view.call()
            return True

        if not self._try(call):
            return False
        wake()
        while not self._view.is_settled(look):
            if time.monotonic() >= until_s:
                return False
            time.sleep(_LOOK_S)
        return True

    def sleep(self, wake: threading.Event, generation: int, seconds: float) -> None:
        """Wait so long, or until this worker is woken, or the generation is another."""
        until_s = time.monotonic() + seconds
        look_s = seconds if self._view.look_s is None else self._view.look_s
        while (left_s := until_s - time.monotonic()) > 0 and self.generation == generation:
            if wake.wait(min(left_s, look_s)):
                return

    def tell_what_waits(self) -> None:
        """Log which versions have been loaded here for long and wait for other workers."""
        view, now_s = self.view, time.monotonic()
        waiting = {
            (name, offer.target)
            for name, offer in self._made.models.items()
            if offer.target is not None
            and offer.target in offer.available
            and view.of(name).default not in (None, offer.target)
        }
        self._waits_since_s = {version: self._waits_since_s.get(version, now_s) for version in waiting}
        for (name, number), since_s in self._waits_since_s.items():
            if now_s - since_s >= _HELD_UP_S:
                self._complain(
                    f"{name} version {number} is loaded, but not in every worker of this service; until it is, "
                    f"version {view.of(name).default} answers."
                )

    def _try(self, tell: Callable[[], bool]) -> bool:
        try:
            return tell()
        except OSError as error:
            self._complain(f"The workers of this service can't agree on versions: {error.strerror}.")
            return False
