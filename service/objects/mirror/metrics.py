"""How the copy of a store goes, for Prometheus: read from the mirror's file when the page is asked for."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

# The file, in the service's private folder.
NUMBERS: Final = "mirror.json"


class MirrorMetrics(Collector):
    """The mirror's numbers; none where nothing is mirrored.

    Args:
        file: see `told.py`.
    """

    def __init__(self, file: Path) -> None:
        """Read nothing yet."""
        self._file = file

    def collect(self) -> Iterator[Metric]:
        """The numbers now."""
        try:
            numbers = json.loads(self._file.read_text())
        except (OSError, ValueError):
            return
        if numbers["looked_s"] is not None:
            yield GaugeMetricFamily(
                "signpost_store_look_age_seconds",
                "Seconds since the bucket was last checked and everything needed from it was copied.",
                max(0.0, time.monotonic() - numbers["looked_s"]),
            )
        yield CounterMetricFamily("signpost_store_fetched_bytes", "Bytes fetched from the bucket.", numbers["bytes"])
        yield CounterMetricFamily("signpost_store_failures", "Number of failures.", numbers["failures"])
