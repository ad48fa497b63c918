"""Nothing waits by the clock on the wall: it jumps. Who looks at it at all is listed here."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]

# What may look at the wall's clock: the times that are written down or compared with those of files.
MAY = {
    "service/engine/local/folders.py",  # ages of files, and a steady clock beside it
    "service/message/answers.py",  # the header Date
    "service/telemetry/logs.py",  # the time of a line
    "service/telemetry/metrics.py",  # when a model ran last, as the Open Inference Protocol tells it
    "service/telemetry/timings.py",  # the times of spans
}
WALL = re.compile(r"\btime\.(time|time_ns|ctime|localtime|gmtime)\(|\bdatetime\.(now|utcnow|today|fromtimestamp)\(")


def test_only_those_listed_look_at_the_clock_on_the_wall() -> None:
    lines = {
        str(path.relative_to(ROOT)): [line for line in path.read_text().splitlines() if WALL.search(line)]
        for path in (ROOT / "service").rglob("*.py")
    }
    assert {path for path, found in lines.items() if found} == MAY
