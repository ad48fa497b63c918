"""Gunicorn's own messages, in the form of all others."""

import logging
from typing import Any

from gunicorn.glogging import Logger


class RootLog(Logger):  # type: ignore[misc]  # gunicorn has no types
    """Leaves the output to the root logger."""

    def setup(self, cfg: Any) -> None:
        """Take nothing of gunicorn's settings but them."""
        self.error_log.propagate = True
        self.error_log.setLevel(max(logging.WARNING, logging.getLogger().level))
        self.cfg = cfg
