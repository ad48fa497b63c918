"""Connections that wait for something, in the order in which they began to; any can leave at once.

Gunicorn keeps them in a deque, from which each request has to find its connection: with thousands of them that costs as
much as a small image.
"""

from collections.abc import Iterator
from typing import Any


class WaitingConnections:
    """Does what gunicorn asks of its deque, and tells quickly whether a connection waits."""

    def __init__(self) -> None:
        """None waits."""
        self._waiting: dict[Any, None] = {}

    def append(self, conn: Any) -> None:
        """Let a connection wait, behind all others."""
        self._waiting[conn] = None

    def remove(self, conn: Any) -> None:
        """Take out a connection that waits."""
        del self._waiting[conn]

    def popleft(self) -> Any:
        """Take out the one that has waited for longest."""
        conn = self[0]
        del self._waiting[conn]
        return conn

    def __getitem__(self, place: int) -> Any:
        """The one that has waited for longest, which is at place 0."""
        if place:
            raise IndexError("Only the first can be asked for.")
        return next(iter(self._waiting))

    def __contains__(self, conn: Any) -> bool:
        """Whether a connection waits."""
        return conn in self._waiting

    def __len__(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def __iter__(self) -> Iterator[Any]:
        """All of them, in order."""
        return iter(self._waiting)
