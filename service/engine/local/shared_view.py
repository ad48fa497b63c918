"""The view by which a worker answers: its own, or one for all workers of a service, which changes for all at once.

In the shared folder lie an offer for each worker (`offer-PID`) and the view of each generation (`view-N`); which
generation holds is one number in memory that all processes share. So a change becomes visible everywhere at the moment
in which that number is written, and looking for one costs a request one read of memory. Whoever changes an offer holds
the lock file for as long as it takes to read all offers and write the view; there is no process that the others need.
"""

import fcntl
import json
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Protocol

from service.engine.local import agreement
from service.engine.local.agreement import Offer, View, agree
from service.interface import ModelSpec

log = logging.getLogger(__name__)

# Seconds to wait for the lock, which is held for a millisecond unless its holder is stopped.
_LOCK_S: Final = 2.0
_LOCK_LOOK_S: Final = 0.001
# Views that are kept for who is about to read them, and how often that is tried.
_KEPT: Final = 8
# Seconds between checks of whether others have changed the view, where that is to be noticed without a request.
_LOOK_S: Final = 0.1


class AnyView(Protocol):
    """What a local engine needs of either kind; the methods raise OSError where the folder can't be written."""

    @property
    def look_s(self) -> float | None:
        """Seconds between checks of the generation; None where only this process changes it."""
        ...

    @property
    def now(self) -> View:
        """What holds at this moment."""
        ...

    @property
    def generation(self) -> int:
        """Grows whenever the view changes or all workers are called to look at the store."""
        ...

    def offer(self, offer: Offer, without: tuple[str, int] | None = None) -> bool:
        """Change this worker's offer; not if the view names the version of a model that it is `without`."""
        ...

    def join(self, offer: Offer, ready: bool, alone: bool) -> bool:
        """Take requests from now on, if this worker can.

        Args:
            offer: this worker's.
            ready: whether it has all that it wants; asked where no other worker of this service takes requests. Where
                one does, this one has to have what they answer with.
            alone: it does so in any case.

        Returns:
            Whether it takes requests.
        """
        ...

    def leave(self) -> None:
        """Be waited for no longer."""
        ...

    def call(self) -> int:
        """Have every worker look at the store; the generation to wait for."""
        ...

    def is_settled(self, generation: int) -> bool:
        """Whether every worker has since looked at the store and found nothing to do."""
        ...


class OwnView:
    """The view of a process that is alone."""

    look_s = None

    def __init__(self) -> None:
        """Nothing is offered yet."""
        self.now = View()
        self.generation = 0
        self._offer = Offer()

    def offer(self, offer: Offer, without: tuple[str, int] | None = None) -> bool:
        """See `AnyView`."""
        if _is_named(self.now, without):
            return False
        self._offer = offer
        after = agree(self.now, {0: offer})
        if after != self.now:
            self.now = after
            self.generation += 1
        return True

    def join(self, offer: Offer, ready: bool, alone: bool) -> bool:
        """See `AnyView`."""
        return (ready or alone) and self.offer(offer)

    def leave(self) -> None:
        """See `AnyView`."""

    def call(self) -> int:
        """See `AnyView`."""
        self.generation += 1
        return self.generation

    def is_settled(self, generation: int) -> bool:
        """See `AnyView`."""
        return self._offer.settled_at >= max(generation, self.generation)


class SharedView:
    """The view of a service of several processes; see the module.

    Args:
        folder: of the service, for nothing else; see `service.parts.runtime`.
        generation: one number of 64 bits, in memory that all processes of the service share.
        worker: its process ID.
    """

    look_s = _LOOK_S

    def __init__(self, folder: Path, generation: "memoryview[int]", worker: int | None = None) -> None:
        """Read nothing yet."""
        self._worker = os.getpid() if worker is None else worker
        self._folder = folder
        self._generation = generation
        self._known = (0, View())  # replaced as a whole
        self._unread = 0  # the last generation that could not be read
        self._serves = False

    @property
    def now(self) -> View:
        """See `AnyView`."""
        known, view = self._known
        return view if known == self._generation[0] else self._read()

    @property
    def generation(self) -> int:
        """See `AnyView`."""
        return self._generation[0]

    def version_of(self, spec: ModelSpec) -> int | None:
        """The version that a request means which names a label or nothing; None where that is not known."""
        view = self.now.of(spec.name)
        return view.default if spec.label is None else view.labels.get(spec.label)

    def offer(self, offer: Offer, without: tuple[str, int] | None = None) -> bool:
        """See `AnyView`."""
        with self._locked():
            if _is_named(self.now, without):
                return False
            self._put(replace(offer, serves=self._serves))
        return True

    def join(self, offer: Offer, ready: bool, alone: bool) -> bool:
        """See `AnyView`."""
        self._serves |= alone  # whether or not the others can be told now
        with self._locked():
            others = self._serving().keys() - {self._worker}
            if not (alone or (self.now.is_covered_by(offer) if others else ready)):
                return False
            self._serves = True
            self._put(replace(offer, serves=True))
        return True

    def leave(self) -> None:
        """See `AnyView`."""
        self.forget(self._worker)

    def forget(self, pid: int) -> None:
        """Be waited for a worker no longer that has ended, or is about to."""
        self._file(pid).unlink(missing_ok=True)
        with self._locked():
            self._agree()

    def call(self) -> int:
        """See `AnyView`."""
        with self._locked():
            return self._publish(self.now)

    def is_settled(self, generation: int) -> bool:
        """See `AnyView`."""
        wanted = max(generation, self._generation[0])
        serving = self._serving()
        return bool(serving) and all(offer.settled_at >= wanted for offer in serving.values())

    def _put(self, offer: Offer) -> None:
        _write(self._file(self._worker), agreement.offer_to_json(offer))
        self._agree()

    def _agree(self) -> None:
        before, serving = self.now, self._serving()
        after = agree(before, serving)
        if after != before:
            _tell(before, after, self._publish(after), among_workers=len(serving) > 1)

    def _publish(self, view: View) -> int:
        generation = self._generation[0] + 1
        _write(self._view(generation), agreement.to_json(view))
        self._generation[0] = generation  # this is the moment
        self._view(generation - _KEPT).unlink(missing_ok=True)
        return generation

    def _read(self) -> View:
        """The view that holds; if it can't be read, which nothing foreseen brings about, the one known last."""
        for _ in range(_KEPT):
            generation = self._generation[0]
            try:
                view = agreement.from_json(json.loads(self._view(generation).read_text()))
            except FileNotFoundError:  # others have followed meanwhile
                continue
            except OSError as error:
                if self._unread != generation:  # not for each request
                    self._unread = generation
                    log.warning("What the workers agreed on can't be read: %s.", error.strerror)
                break
            self._known = (generation, view)
            return view
        return self._known[1]

    def _serving(self) -> dict[int, Offer]:
        found = {}
        for file in self._folder.glob("offer-*"):
            with suppress(FileNotFoundError):  # gone since it was listed
                offer = agreement.offer_from_json(json.loads(file.read_text()))
                if offer.serves:
                    found[int(file.name.removeprefix("offer-"))] = offer
        return found

    def _file(self, pid: int) -> Path:
        return self._folder / f"offer-{pid}"

    def _view(self, generation: int) -> Path:
        return self._folder / f"view-{generation}"

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the lock; the operating system frees it when the process ends, however it ends."""
        until_s = time.monotonic() + _LOCK_S
        with (self._folder / "lock").open("w") as file:
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > until_s:
                        raise TimeoutError(0, "another process of the service keeps the lock") from None
                    time.sleep(_LOCK_LOOK_S)
            yield


def _is_named(view: View, version: tuple[str, int] | None) -> bool:
    return version is not None and version[1] in view.of(version[0]).named


def _write(path: Path, content: Any) -> None:
    """Write by rename, so that nobody reads half of it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps(content))
    temporary.replace(path)


def _tell(before: View, after: View, generation: int, among_workers: bool) -> None:
    """Log what changes for clients: one line, as only the process that publishes the view does so."""
    for name, view in after.models.items():
        was = before.of(name)
        this = {"once": f"view {generation} {name}"}  # not the worker's own business, so its name is left out
        if was.default is not None and view.default is None:
            log.info("%s is no longer served; it was version %d.", name, was.default, extra=this)
        elif was.default is not None and was.default != view.default:
            log.info(
                "%s: version %d serves now, version %d no longer does.", name, view.default, was.default, extra=this
            )
        for version in view.failed.keys() - was.failed.keys():
            if view.default is not None and view.default != version:
                log.error(
                    "%s: version %d is broken%s; version %d keeps serving.",
                    *(name, version),
                    f" (worker {view.failed[version].worker} could not load it)" if among_workers else "",
                    view.default,
                    extra={"once": f"{this['once']} {version}"},
                )
