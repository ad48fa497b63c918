"""How the cost grows: with images per request, with clients, with models loaded, with workers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any


def measure(store: Path, serve_flags: Sequence[str], out: Path) -> dict[str, Any]:
    """Measure each curve and draw it."""
    del store, serve_flags, out
    return {}
