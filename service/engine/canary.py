"""A canary: a share of the traffic goes to, or is repeated on, the version that is labelled `canary`.

`CanaryEngine` stands before any engine, local or remote, and needs nothing of it but labels. Only requests that name
neither a version nor a label take part; which of them is decided by their request ID, so a client that repeats an ID
meets the same version again.
"""

import hashlib
import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np

from service.engine.wrapped import WrappedServable
from service.errors import NotFound, SettingsError, SignpostError, Unavailable
from service.interface import IN_DOMAIN, Answer, Array, Call, Engine, ModelSpec, Queue, Servable, Status

log = logging.getLogger(__name__)

CANARY: Final = "canary"
STABLE: Final = "stable"

# What became of a repeated request: the canary chose the same class (or gave the same numbers), another, it failed,
# or there was no time for it.
Outcome = Literal["agree", "differ", "failed", "skipped"]
Compared = Callable[[str, Outcome], None]

# Requests that may wait to be repeated, and how large each may be; what is beyond is skipped, as a comparison must
# never cost the requests themselves their memory.
_MOST_WAITING: Final = 16
_LARGEST_BYTES: Final = 16 * 1024 * 1024
_STOP_POLL_S: Final = 0.2
_SHADOW_DEADLINE_S: Final = 30.0
# How far numbers may differ and still agree, for models that are not image classifiers.
_TOLERANCE: Final = 1e-3


def parse_shares(text: str) -> dict[str, float]:
    """Read `--canary-share`: `0.1` for every model, or `cats_vs_dogs=0.1,sign_language=0.5`.

    Returns:
        Shares by model's name; the name "" stands for every other model.

    Raises:
        SettingsError: a share that is not a number from 0 to 1.
    """
    shares: dict[str, float] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, number = part.partition("=") if "=" in part else ("", "", part)
        try:
            share = float(number)
        except ValueError:
            share = -1.0
        if not 0 <= share <= 1 or (equals and not name):
            raise SettingsError(f"--canary-share takes a number from 0 to 1, or MODEL=NUMBER,…; {part!r} is neither.")
        shares[name] = share
    return shares


def is_chosen(request_id: str, share: float) -> bool:
    """Whether a request belongs to the share; the same ID always does or never does."""
    digest = hashlib.blake2b(request_id.encode("utf-8", "replace"), digest_size=8).digest()
    return int.from_bytes(digest) < share * 2**64


@dataclass(frozen=True)
class _Repeat:
    """A request to repeat on the canary, and what the version that served it answered."""

    model: str
    inputs: Mapping[str, Array]
    call: Call
    answered: Mapping[str, Array]


class CanaryEngine:
    """An engine that sends a share of the requests to the canary; see `service.interface.Engine`.

    In mode "route" the share is answered by the canary, the rest by the version labelled `stable` (by default the
    policy's highest). In mode "shadow" none is: the share is repeated on the canary after it was answered, off the
    request's path, and the answers are compared.

    Args:
        engine: what answers.
        shares: see `parse_shares`.
        mode: "route" or "shadow"; anything else is taken for the former.
        compared: told the outcome of each repeated request, with the model's name.
    """

    def __init__(self, engine: Engine, shares: Mapping[str, float], mode: str, compared: Compared) -> None:
        """Start nothing yet; `start` begins to repeat requests in mode "shadow"."""
        self._engine = engine
        self._shares = shares
        self._mode = mode
        self._compared = compared
        self._repeats: queue.Queue[_Repeat] = queue.Queue(_MOST_WAITING)
        self._stopping = threading.Event()
        # It ends with `close`; an error in one repeat is counted and ends nothing.
        self._shadow = threading.Thread(target=self._repeat_all, name="canary-shadow", daemon=True)

    @property
    def has_canaries(self) -> bool:
        """Whether any model has a share for a canary; see `Engine.has_canaries`."""
        return any(self._shares.values())

    def start(self) -> None:
        """Start the engine, and the thread that repeats requests if the mode needs one."""
        self._engine.start()
        if self._mode == "shadow":
            self._shadow.start()

    def close(self) -> None:
        """Stop repeating and close the engine."""
        self._stopping.set()
        if self._shadow.is_alive():
            self._shadow.join(_SHADOW_DEADLINE_S)
        self._engine.close()

    def status(self) -> Status:
        """The state of every version; see `Engine.status`."""
        return self._engine.status()

    def queued(self, model: str | None = None) -> Mapping[tuple[str, int], Queue]:
        """What waits for a batch now; see `Engine.queued`."""
        return self._engine.queued(model)

    @contextmanager
    def lease(self, spec: ModelSpec) -> Iterator[Servable]:
        """Borrow the servable that this request should meet; see `Engine.lease`."""
        share = self._share(spec)
        if share == 0:
            with self._engine.lease(spec) as servable:
                yield servable
        elif self._mode == "shadow":
            with self._engine.lease(spec) as servable:
                chosen = is_chosen(spec.request_id or "", share)
                yield _Shadowed(servable, self._enqueue) if chosen else servable
        else:
            label = CANARY if is_chosen(spec.request_id or "", share) else STABLE
            with self._lease_labelled(spec, label) as servable:
                yield servable

    def _share(self, spec: ModelSpec) -> float:
        if spec.request_id is None or spec.version is not None or spec.label is not None:
            return 0.0
        return self._shares.get(spec.name, self._shares.get("", 0.0))

    @contextmanager
    def _lease_labelled(self, spec: ModelSpec, label: str) -> Iterator[Servable]:
        """The version with the label, or where there is none (or it is not ready) the one that always answers."""
        with ExitStack() as stack:
            try:
                servable = stack.enter_context(self._engine.lease(replace(spec, label=label)))
            except (NotFound, Unavailable):
                servable = stack.enter_context(self._engine.lease(spec))
            yield servable

    def _enqueue(self, repeat: _Repeat) -> None:
        try:
            if sum(array.nbytes for array in repeat.inputs.values()) > _LARGEST_BYTES:
                raise queue.Full
            self._repeats.put_nowait(repeat)
        except queue.Full:
            self._compared(repeat.model, "skipped")

    def _repeat_all(self) -> None:
        while not self._stopping.is_set():
            try:
                repeat = self._repeats.get(timeout=_STOP_POLL_S)
            except queue.Empty:
                continue
            outcome: Outcome = "failed"
            try:
                outcome = self._repeat(repeat)
            except NotFound:
                continue  # the model has no canary at the moment
            except SignpostError as error:
                log.debug("The canary of %s did not answer: %s", repeat.model, error)
            except Exception:
                log.exception("Repeating a request on the canary of %s failed unexpectedly.", repeat.model)
            self._compared(repeat.model, outcome)

    def _repeat(self, repeat: _Repeat) -> Outcome:
        with self._engine.lease(ModelSpec(repeat.model, label=CANARY)) as servable:
            # Its own deadline, and nobody to leave: the client has had its answer.
            # What only one of the versions may have is not compared.
            outputs = tuple(name for name in repeat.call.outputs if name != IN_DOMAIN) or repeat.call.outputs
            call = Call(time.monotonic() + _SHADOW_DEADLINE_S, repeat.call.signature_name, outputs)
            answer = servable.predict(repeat.inputs, call)
        return "agree" if _agree(repeat.answered, answer.outputs) else "differ"


def _agree(stable: Mapping[str, Array], canary: Mapping[str, Array]) -> bool:
    """Whether two answers are the same: the same best class where there are scores, else the same values."""
    if "scores" in stable:
        stable, canary = ({name: each[name] for name in each if name != IN_DOMAIN} for each in (stable, canary))
    if stable.keys() != canary.keys() or any(stable[name].shape != canary[name].shape for name in stable):
        return False
    if "scores" in stable and stable["scores"].ndim == 2:
        return bool((stable["scores"].argmax(axis=1) == canary["scores"].argmax(axis=1)).all())
    return all(_same(stable[name], canary[name]) for name in stable)


def _same(one: Array, other: Array) -> bool:
    if one.dtype.kind in "fc":
        return bool(np.allclose(one, other, rtol=_TOLERANCE, atol=_TOLERANCE, equal_nan=True))
    return bool((one == other).all())


class _Shadowed(WrappedServable):
    """A servable whose answers are compared with the canary's afterwards."""

    def __init__(self, inner: Servable, enqueue: Callable[[_Repeat], None]) -> None:
        super().__init__(inner)
        self._enqueue = enqueue

    def predict(self, inputs: Mapping[str, Array], call: Call) -> Answer:
        answer = self.inner.predict(inputs, call)
        self._enqueue(_Repeat(self.name, inputs, call, answer.outputs))
        return answer

    def score_all(self, images: Sequence[Array], calls: Sequence[Call]) -> list[Answer | SignpostError]:
        answers = self.inner.score_all(images, calls)
        for pixels, call, answer in zip(images, calls, answers, strict=True):
            if isinstance(answer, Answer):
                self._enqueue(_Repeat(self.name, {"image": pixels}, call, answer.outputs))
        return answers
