"""What is left of a call's time, told as metadata: Ray's proxy takes gRPC's own deadline for itself."""

from collections.abc import Iterable
from typing import Any, Final

KEY: Final = "x-request-deadline-ms"
# Milliseconds beyond which a deadline is a word for none; gRPC has one for ever.
_FOR_EVER_MS: Final = 10**12


def left_s(metadata: Iterable[Any]) -> float | None:
    """Seconds that were left when the call was sent, the least of all that are told; None where none are."""
    told = [
        int(value)
        for key, value in metadata
        if key == KEY and isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 12
    ]
    return min(told) / 1e3 if told else None


def with_left(metadata: Iterable[Any], remaining_s: float | None) -> tuple[Any, ...]:
    """Metadata that tell what is left: of gRPC's own deadline too, where that is the earlier.

    Args:
        metadata: the call's.
        remaining_s: seconds until gRPC's deadline; None without one.
    """
    pairs = tuple((key, value) for key, value in metadata)
    if remaining_s is None or remaining_s * 1e3 > _FOR_EVER_MS:
        return pairs
    told_s = left_s(pairs)
    if told_s is None and any(key == KEY for key, _ in pairs):
        return pairs  # whoever answers tells what is wrong with it
    left_ms = max(1, int(min(remaining_s, remaining_s if told_s is None else told_s) * 1e3))
    return (*(pair for pair in pairs if pair[0] != KEY), (KEY, str(left_ms)))
