"""What the engines of a service have of each model, as they tell each other; see `service.engine.local.agreement`."""

import json
from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from service.engine.local import agreement


@dataclass(frozen=True)
class Engines:
    """What the engines of one service have.

    Attributes:
        held: versions that are loaded, or being loaded, by model.
        failed: versions that an engine could not load, by model.
        serve: whether any runs already.
    """

    held: Mapping[str, frozenset[int]] = field(default_factory=dict)
    failed: Mapping[str, frozenset[int]] = field(default_factory=dict)
    serve: bool = False


def read(folder: Path) -> Engines:
    """Read what the workers of a service offer.

    Args:
        folder: where they agree; see `service.runtime.Runtime.agreement`.
    """
    held: dict[str, frozenset[int]] = defaultdict(frozenset)
    failed: dict[str, frozenset[int]] = defaultdict(frozenset)
    serve = False
    for file in folder.glob("offer-*"):
        with suppress(OSError, ValueError):  # its worker has ended meanwhile
            offer = agreement.offer_from_json(json.loads(file.read_text()))
            serve = True
            for name, each in offer.models.items():
                held[name] |= each.available | each.coming
                failed[name] |= each.failed.keys()
    return Engines(dict(held), dict(failed), serve)
