"""What somebody may have meant who asked for a name that is not there."""

import difflib
import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from service.interface import ModelSpec, VersionStatus

# Comparing is done while others wait, and by whoever asks: so long a name, and so many of them, at most.
_LONGEST: Final = 100
_MOST_KNOWN: Final = 300
_MOST_TOLD: Final = 3


def near(name: str, known: Iterable[str]) -> list[str]:
    """Those of the names that look like another, the likest first; case, `-`, `_` and `.` make no difference."""
    if len(name) > _LONGEST:
        return []
    by_look: dict[str, str] = {}
    for each in itertools.islice(known, _MOST_KNOWN):
        by_look.setdefault(_look(each), each)
    return [by_look[look] for look in difflib.get_close_matches(_look(name), by_look, _MOST_TOLD, cutoff=0.7)]


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A question to put into an error, with a space behind it; nothing where no known name is near.

    Whoever gets the error must be somebody who may see all of the known names.
    """
    found = near(name, known)
    return f"did you mean {' or '.join(found)}? " if found else ""


def not_found(spec: ModelSpec, models: Iterable[str]) -> str:
    """What is said to a request for a model that is not among `models`; clients of TF Serving look for its beginning.

    Whoever may ask a model may list them all (`service/security/access.py`), so naming those that are near gives
    nothing away.
    """
    return f"Servable not found for request: {spec}; {did_you_mean(spec.name, models)}GET /v1/models lists the models."


def what_there_is(name: str, models: Mapping[str, Sequence[VersionStatus]]) -> str:
    """What is said to a question about a model, or a version of one, that is not there."""
    if name in models:
        versions = ", ".join(str(each.version) for each in reversed(models[name]))
        return f"it has {versions or 'none yet'}."
    return f"{did_you_mean(name, models)}GET /v1/models lists what there is."


def _look(name: str) -> str:
    return name.casefold().replace("-", "_").replace(".", "_")
