"""Where a service keeps what it may lose: it would only have to be fetched, or found out, again."""

import os
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path


def default(environment: Mapping[str, str], what: str) -> Path:
    """The folder for one kind of things if nobody names one: in the user's cache, or one for temporary files."""
    base = environment.get("XDG_CACHE_HOME") or "~/.cache"
    with suppress(RuntimeError):  # a user without a home
        folder = Path(base).expanduser() / "signpost"
        there = next(each for each in (folder, *folder.parents) if each.exists())
        if os.access(there, os.W_OK):
            return folder / what
    return Path(tempfile.gettempdir()) / f"signpost-{what}-{os.getuid()}"
