"""When a user may ask: at once, in a loop that the plan's load limits, or when an arrival is due.

A user is a connection. In a closed loop so many of them take turns as the load says. With open arrivals a greenlet
hands each arrival to the user of its kind that has been idle for the shortest time, so that few connections serve a
service that is quick; when all are busy it waits for the next, and its latency goes on counting.
"""

import random
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

import gevent
import gevent.event

from loadtests.load.ticker import Ticker
from loadtests.plan import arrivals, shapes
from loadtests.plan.plan import Plan

_LOOK_S: Final = 0.02  # between two looks of an idle user at the load of a closed loop


@dataclass(frozen=True)
class Turn:
    """A request may be sent.

    Attributes:
        due_s: when it was due (`time.monotonic()`).
        kind: position in the plan's kinds.
        waited: whether no connection was free when it was due.
    """

    due_s: float
    kind: int
    waited: bool = False


class Pace(Protocol):
    """Gives users their turns."""

    def begin(self, begin_s: float) -> None:
        """The run begins at this time (`time.monotonic()`)."""

    def turn(self, way: str, number: int) -> Turn | None:
        """Wait for the next turn of a user; None when there will be none.

        Args:
            way: which kinds it can send.
            number: of the user in this process, from 0.
        """


class Choice:
    """Picks kinds by their weights, of all or of one way."""

    def __init__(self, plan: Plan, part: int) -> None:
        """Choose among the plan's kinds."""
        self._random = random.Random(f"{plan.seed} kinds {part}")
        self._all = (range(len(plan.kinds)), [kind.weight for kind in plan.kinds])
        self._by_way = {
            way: (
                [at for at, kind in enumerate(plan.kinds) if kind.way == way],
                [kind.weight for kind in plan.kinds if kind.way == way],
            )
            for way in {kind.way for kind in plan.kinds}
        }

    def pick(self, way: str = "") -> int:
        """Position of a kind."""
        positions, weights = self._by_way[way] if way else self._all
        return self._random.choices(positions, weights)[0] if len(positions) > 1 else positions[0]


class Unpaced:
    """Every user asks again when it was answered, for as long as Locust lets it."""

    def __init__(self, choice: Choice) -> None:
        """Choose what to ask."""
        self._choice = choice

    def begin(self, begin_s: float) -> None:
        """It has begun already."""

    def turn(self, way: str, number: int) -> Turn | None:  # noqa: ARG002 - as the protocol has it
        """At once."""
        return Turn(time.monotonic(), self._choice.pick(way))


class ClosedLoop:
    """So many users as the plan's load says, each asking again when it was answered."""

    def __init__(self, plan: Plan, part: int, choice: Choice) -> None:
        """Wait for the start."""
        self._plan, self._part, self._choice = plan, part, choice
        self._begun: Any = gevent.event.AsyncResult()

    def begin(self, begin_s: float) -> None:
        """The run begins at this time."""
        self._begun.set(begin_s)

    def turn(self, way: str, number: int) -> Turn | None:
        """Wait until the load lets this user ask; None at the end."""
        begin_s = self._begun.get()
        mine = self._part + number * self._plan.processes  # among the users of all processes
        while True:
            now_s = time.monotonic()
            if now_s - begin_s >= self._plan.end_s:
                return None
            # A load of 2.4 users is 2 or 3; at least one asks.
            if mine < max(1, round(shapes.load_at(self._plan.stages, now_s - begin_s))) and now_s >= begin_s:
                return Turn(now_s, self._choice.pick(way))
            gevent.sleep(shapes.next_look(self._plan.stages, now_s - begin_s, _LOOK_S) - (now_s - begin_s))


class OpenArrivals:
    """Turns at the times at which the plan's requests are due, whatever became of those before.

    Args:
        plan: with a rate.
        part: which process this is.
        choice: of what to ask.
        never_sent: told of each turn for which no user was free until the end.
    """

    def __init__(self, plan: Plan, part: int, choice: Choice, never_sent: Callable[[Turn], None]) -> None:
        """Wait for the start."""
        self._plan, self._part, self._choice, self._never_sent = plan, part, choice, never_sent
        self._idle: dict[str, list[Any]] = {kind.way: [] for kind in plan.kinds}  # the last in is the first out
        self._waiting: dict[str, deque[Turn]] = {kind.way: deque() for kind in plan.kinds}
        self._over = False

    def begin(self, begin_s: float) -> None:
        """Hand out turns from this time on; the greenlet ends with the plan."""
        gevent.spawn(self._run, begin_s)

    def turn(self, way: str, number: int) -> Turn | None:  # noqa: ARG002 - as the protocol has it
        """The oldest turn that waits, or the next one that is due."""
        if self._over:
            return None
        if self._waiting[way]:
            return self._waiting[way].popleft()
        mine: Any = gevent.event.AsyncResult()
        self._idle[way].append(mine)
        turn: Turn | None = mine.get()
        return turn

    def _run(self, begin_s: float) -> None:
        plan, ticker = self._plan, Ticker()
        due = arrivals.due_times(
            plan.stages,
            poisson=plan.arrivals == "poisson",
            part=self._part,
            parts=plan.processes,
            seed=plan.seed,
        )
        for after_s in due:
            ticker.sleep_until(begin_s + after_s)
            self.arrive(begin_s + after_s)
        ticker.sleep_until(begin_s + plan.end_s)
        ticker.close()
        self.end()

    def arrive(self, due_s: float) -> None:
        """A request is due."""
        kind = self._choice.pick()
        way = self._plan.kinds[kind].way
        if self._idle[way]:
            self._idle[way].pop().set(Turn(due_s, kind))
        else:
            self._waiting[way].append(Turn(due_s, kind, waited=True))

    def end(self) -> None:
        """Nothing more is sent; what still waits never was."""
        self._over = True
        for waiting in self._waiting.values():
            for turn in waiting:
                self._never_sent(turn)
            waiting.clear()
        for idle in self._idle.values():
            for each in idle:
                each.set(None)
            idle.clear()
