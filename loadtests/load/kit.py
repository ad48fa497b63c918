"""What the users of one process share, and what they note of each request."""

import re
import time
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any, Final

from loadtests.load.pace import Pace, Turn
from loadtests.load.ways import Request
from loadtests.plan.plan import Plan
from loadtests.results import records
from loadtests.results.records import Recorder

_STAGE: Final = re.compile(r"(\w+);dur=([\d.]+)")
_NAN: Final = float("nan")


@dataclass
class Kit:
    """What the users of one process share.

    Attributes:
        plan: what is asked.
        requests: prepared ones, by position in the plan's kinds.
        pace: when they ask.
        recorder: where what came of it goes, or None.
        begin_s: of the run (`time.monotonic()`).
        users: how many there have been.
        here: how many there are.
    """

    plan: Plan
    requests: list[list[Request]]
    pace: Pace
    recorder: Recorder | None = None
    begin_s: float = 0.0
    users: int = 0
    here: int = 0
    turns: list[Any] = field(init=False)

    def __post_init__(self) -> None:
        """Take the requests of each kind in turn."""
        self.turns = [cycle(each) for each in self.requests]

    def note(self, turn: Turn, sent_s: float, done_s: float, status: int, error: str, stages: str = "") -> None:
        """Record what came of a turn; times are those of `time.monotonic()`."""
        if self.recorder is None:
            return
        taken = {stage: float(ms) / 1e3 for stage, ms in _STAGE.findall(stages)}
        self.recorder.add(
            turn.due_s - self.begin_s,
            sent_s - turn.due_s,
            done_s - turn.due_s,
            status,
            turn.kind,
            turn.waited,
            tuple(taken.get(stage, _NAN) for stage in records.STAGES),
        )
        if error:
            self.recorder.count_error(status, error)

    def note_never_sent(self, turn: Turn) -> None:
        """Record a turn for which no connection was free until the end."""
        now_s = time.monotonic()
        self.note(turn, now_s, now_s, records.NEVER_SENT, "No connection became free before the end of the run.")
