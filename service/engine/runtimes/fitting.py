"""How a version gets its runtime: the one that was asked for, or remembered, or is chosen now."""

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from service.engine.batching.batcher import Run
from service.engine.runtimes.asked import AUTO, OPENVINO, OPENVINO_INT8, Wish
from service.engine.runtimes.choice import Candidate, Choice, Trial, choose, gain_of, why_not, why_random
from service.engine.runtimes.guarded import Guarded
from service.engine.runtimes.part import NotTaken, Opened, Part, why_not_unasked
from service.engine.runtimes.remembered import Remembered, fingerprint, processor
from service.errors import LoadFailed, SignpostError
from service.interface import REFERENCE, RunBy, Signature

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Subject:
    """A version that is being loaded, as far as its runtime goes.

    Attributes:
        folder: the version's.
        name: the model's name.
        version: its number.
        signature: the default signature.
        outputs: those of it that a runtime gives.
        why_reference: why only TensorFlow may run it; empty where others may.
        why_differs: why it may answer the same input differently, so that nothing can be compared; empty where it does
            not.
        devices: TensorFlow's function on each device.
        part: makes the part of its graph that a runtime needs.
        trial: what runtimes are tried with; None where nothing can be had.
        openers: opens the part in a runtime, by its name; raises NotTaken.
        about: what a choice hangs on besides the files and the processor, by name.
        own: what a runtime is tried with whose answers are its own, by its name.
    """

    folder: Path
    name: str
    version: int
    signature: Signature
    outputs: tuple[str, ...]
    why_reference: str
    why_differs: str
    devices: Sequence[Run]
    part: Callable[[], Part]
    trial: Trial | None
    openers: Mapping[str, Callable[[Part], Opened]]
    about: Mapping[str, object]
    own: Mapping[str, Trial] = field(default_factory=dict)

    def __str__(self) -> str:
        """As people know it."""
        return f"{self.name} version {self.version}"

    @property
    def why_not(self) -> str:
        """Why no runtime can be tried."""
        return self.why_reference or ("" if self.trial is not None else "there is nothing that it could be tried with")


def fit(subject: Subject, wish: Wish) -> Choice:
    """Find what serves a version.

    Raises:
        NotTaken: the runtime that was asked for can't run it, or does not answer as TensorFlow does.
    """
    if wish.runtime == REFERENCE:
        return Choice(RunBy())
    remembered = None
    if wish.folder is not None and subject.trial is not None and subject.openers:
        about = {"files": fingerprint(subject.folder), "processor": processor(), "asked": wish.runtime, **subject.about}
        remembered = Remembered(wish.folder, about)
    if wish.runtime == OPENVINO and OPENVINO_INT8 in subject.openers:
        choice = _asked_with_int8(subject, remembered)
    elif wish.runtime != AUTO:
        choice = _asked(subject, wish.runtime, remembered)
    elif subject.openers:
        choice = _automatic(subject, remembered)
    else:  # nothing is installed, so nothing need be told
        choice = Choice(RunBy())
    if OPENVINO_INT8 in subject.openers and wish.runtime in (AUTO, OPENVINO) and choice.by.runtime != OPENVINO_INT8:
        log.warning(
            "%s does not serve in int8, in which it is published too: %s.", subject, choice.by.why.rstrip("."),
            extra={"once": f"int8 {subject}"},
        )  # fmt: skip
    if choice.by != RunBy():
        sixteen = choice.by.runtime == OPENVINO and subject.about.get("mixed_precision")
        log.info(
            "%s is run by %s%s.", subject, choice.by, ", both with --mixed_precision" if sixteen else "",
            extra={"once": f"runtime of {subject}"},
        )  # fmt: skip
    return choice


def guard(subject: Subject, choice: Choice, changed: Callable[[RunBy], None], wish: Wish) -> list[Run]:
    """The function of a chosen runtime on each device, with TensorFlow's behind it.

    Args:
        subject: the version.
        choice: what was chosen.
        changed: told what runs the version from now on, where the runtime is given up.
        wish: told of that, too.
    """
    opened = choice.opened
    assert opened is not None

    def given_up(why: str) -> None:
        log.error(
            "%s is run by TensorFlow from now on: %s is given up, as %s.", subject, choice.by.runtime, why,
            extra={"once": f"given up {subject}"},
        )  # fmt: skip
        changed(RunBy(why=f"{choice.by.runtime} was given up: {why}"))
        wish.given_up(subject.name, subject.version, choice.by.runtime)

    return [
        Guarded(
            opened.devices[number % len(opened.devices)],
            reference,
            subject.signature,
            outputs=subject.outputs,
            sizes=opened.sizes,
            given_up=given_up,
        )
        for number, reference in enumerate(subject.devices)
    ]


def _asked_with_int8(subject: Subject, remembered: Remembered | None) -> Choice:
    try:
        return _asked(subject, OPENVINO_INT8, remembered)
    except NotTaken as error:  # the float graph is there for that
        choice = _asked(subject, OPENVINO, remembered)
        why = str(error).partition(": ")[2].rstrip(".")
        return replace(choice, by=replace(choice.by, why=f"{OPENVINO_INT8}: {why}"))


def _asked(subject: Subject, runtime: str, remembered: Remembered | None) -> Choice:
    trial = subject.own.get(runtime, subject.trial)
    if subject.why_differs:
        return Choice(RunBy(why=subject.why_differs))
    if subject.why_not or trial is None:
        raise NotTaken(f"{subject} can't be run by --runtime={runtime}: {subject.why_not}.")
    reference = subject.devices[0]
    if why := why_random(reference, trial):
        return Choice(RunBy(why=why))
    try:
        opened = subject.openers[runtime](subject.part())
    except NotTaken as error:
        raise NotTaken(f"{subject} can't be run by --runtime={runtime}: it {error}.") from error
    try:
        fits = trial.of_sizes(opened.sizes)
        why = next(filter(None, (why_not(run, reference, fits) for run in opened.devices)), "")
        if not why:
            by = None if remembered is None else remembered.read()
            if by is None or by.runtime != runtime:  # how much faster it is has only to be told
                by = RunBy(runtime, gain_of(opened.devices[0], reference, fits))
                if remembered is not None:
                    remembered.write(by)
            return Choice(by, opened)
    except SignpostError as error:
        why = str(error)
    opened.close()
    raise NotTaken(f"{subject} can't be run by --runtime={runtime}: {why.rstrip('.')}.")


def _automatic(subject: Subject, remembered: Remembered | None) -> Choice:
    why = subject.why_differs or subject.why_not or why_not_unasked(subject.signature)
    if why or subject.trial is None:
        return Choice(RunBy(why=why))
    place: AbstractContextManager[None] = nullcontext() if remembered is None else remembered.alone()
    with place:
        known = None if remembered is None else remembered.read()
        choice = None if known is None else _again(subject, subject.own.get(known.runtime, subject.trial), known)
        if choice is None:
            part = subject.part()
            candidates = [
                Candidate(name, partial(opener, part), subject.own.get(name))
                for name, opener in subject.openers.items()
            ]
            choice = choose(candidates, subject.devices[0], subject.trial)
            if remembered is not None:
                remembered.write(choice.by)
    return choice


def _again(subject: Subject, trial: Trial, known: RunBy) -> Choice | None:
    """What was chosen before; None where that no longer holds."""
    if known.runtime == REFERENCE:
        return Choice(known)
    if known.runtime not in subject.openers:
        return None
    try:
        opened = subject.openers[known.runtime](subject.part())
    except LoadFailed:
        return None
    try:
        reference = subject.devices[0]
        if not any(why_not(run, reference, trial.of_sizes(opened.sizes)) for run in opened.devices):
            return Choice(known, opened)
    except Exception as error:  # of any kind: the runtime is somebody else's code
        log.debug("%s is not run as before: %s", subject, error)
    opened.close()
    return None
