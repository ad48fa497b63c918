"""For Locust: users for every way into a service. `signpost loadtest` runs this file, and so can you.

    signpost serve &
    locust -f loadtests/locustfile.py --host http://127.0.0.1:8501 ImageUser

Without a plan (`SIGNPOST_LOAD_PLAN`, which `signpost loadtest` writes) the users that Locust spawns ask without pause,
and these variables say what: `SIGNPOST_LOAD_MODEL` names models, separated by commas (all by default),
`SIGNPOST_LOAD_IMAGE` a file or folder of images instead of drawn ones, `SIGNPOST_LOAD_GRPC` the address for gRPC (port
8500 of the host by default), `SIGNPOST_API_KEY` a key.
"""

import os
import time
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import gevent
import gevent.lock
from grpc.experimental import gevent as grpc_gevent
from locust import events
from locust.env import Environment
from locust.runners import LocalRunner, MasterRunner, WorkerRunner

from loadtests.load import users, ways
from loadtests.load.kit import Kit
from loadtests.load.pace import Choice, ClosedLoop, OpenArrivals, Pace, Unpaced
from loadtests.load.users import ArraysUser, Base64User, GrpcUser, ImageUser, MultipartUser
from loadtests.plan import plan as plans
from loadtests.plan.plan import Plan
from loadtests.plan.shapes import Stage
from loadtests.results.records import Recorder
from loadtests.subject import target

__all__ = ["ArraysUser", "Base64User", "GrpcUser", "ImageUser", "MultipartUser"]

_PLAN: Final = os.environ.get("SIGNPOST_LOAD_PLAN", "")
_FLUSH_S: Final = 0.5
# From when all users are there until the first may ask: every process has heard of it by then.
_AHEAD_S: Final = 0.2
_LOOK_S: Final = 0.05
_PATIENCE_S: Final = 60.0  # until all users are there
# Beyond the longest request, for a process to say that it has finished.
_GRACE_S: Final = 10.0


def _weigh() -> None:
    """As many users of each class as the plan has requests of its way; Locust leaves out those of weight 0."""
    kinds = Plan.read(Path(_PLAN)).kinds
    for each in users.EVERY:
        each.weight = sum(kind.weight for kind in kinds if kind.way == each.way)


if _PLAN:
    _weigh()


@events.init.add_listener  # type: ignore[untyped-decorator]  # as Locust's is
def listen(environment: Environment, **_: object) -> None:
    """With a plan: have the processes tell each other when the run begins and when a part of it has ended."""
    grpc_gevent.init_gevent()
    runner = environment.runner
    if not _PLAN or runner is None:
        return
    if not isinstance(runner, MasterRunner):
        runner.register_message("begin", lambda msg, **_: _begin(environment, msg.data["begin_s"]))
    if not isinstance(runner, WorkerRunner):
        finished: Any = gevent.lock.Semaphore(0)
        here: dict[int, int] = {}  # users, by process
        runner.register_message("here", lambda msg, **_: here.update({msg.data["part"]: msg.data["users"]}))
        runner.register_message("finished", lambda **_: finished.release())
        gevent.spawn(_conduct, runner, Plan.read(Path(_PLAN)), here, finished)


@events.test_start.add_listener  # type: ignore[untyped-decorator]  # as Locust's is
def put_together(environment: Environment, **_: object) -> None:
    """Make what the users of this process share; a master has no users."""
    runner = environment.runner
    if isinstance(runner, MasterRunner):
        return
    part = runner.worker_index if isinstance(runner, WorkerRunner) else 0
    users.Paced.kit = kit = _kit(Plan.read(Path(_PLAN)) if _PLAN else _plan_of_variables(environment), part)
    if _PLAN:
        gevent.spawn(_announce, runner, kit, part)


def _plan_of_variables(environment: Environment) -> Plan:
    url = target.checked(environment.host or "http://127.0.0.1:8501")
    models = os.environ.get("SIGNPOST_LOAD_MODEL", "")
    return Plan(
        url,
        os.environ.get("SIGNPOST_LOAD_GRPC") or f"{urlsplit(url).hostname}:8500",
        plans.kinds(
            [each.way for each in users.EVERY if each in environment.user_classes],
            models.split(",") if models else target.models(url),
        ),
        (Stage(0.0, 1.0, 1.0, 1.0),),
        images=os.environ.get("SIGNPOST_LOAD_IMAGE", ""),
    )


def _kit(plan: Plan, part: int) -> Kit:
    signatures = {model: target.signature(plan.url, model) for model in {kind.model for kind in plan.kinds}}
    requests: list[list[ways.Request]] = []
    for kind in plan.kinds:
        requests.append([])
        for request in ways.requests(kind, signatures[kind.model], plan.images):
            requests[-1].append(request)
            gevent.sleep(0)  # a master gives up a process that is silent for seconds
    choice = Choice(plan, part)
    kit = Kit(plan, requests, Unpaced(choice), Recorder(Path(plan.folder), part) if plan.folder else None)
    if _PLAN:
        kit.pace = _pace(plan, part, choice, kit)
    return kit


def _pace(plan: Plan, part: int, choice: Choice, kit: Kit) -> Pace:
    return OpenArrivals(plan, part, choice, kit.note_never_sent) if plan.is_open else ClosedLoop(plan, part, choice)


def _announce(runner: LocalRunner | WorkerRunner, kit: Kit, part: int) -> None:
    """Tell how many users are here until the run begins."""
    while not kit.begin_s:
        runner.send_message("here", {"part": part, "users": kit.here})
        gevent.sleep(_LOOK_S)


def _conduct(runner: LocalRunner | MasterRunner, plan: Plan, here: dict[int, int], finished: Any) -> None:
    """Once all users are there, tell every process when to begin; quit when each has had its last answer."""
    latest_s = time.monotonic() + _PATIENCE_S
    while sum(here.values()) < plan.users and time.monotonic() < latest_s:
        gevent.sleep(_LOOK_S)
    runner.send_message("begin", {"begin_s": time.monotonic() + _AHEAD_S})
    latest_s = time.monotonic() + plan.end_s + plan.timeout_s + _GRACE_S
    for _ in range(plan.processes):
        finished.acquire(timeout=max(0.0, latest_s - time.monotonic()))
    runner.quit()


def _begin(environment: Environment, begin_s: float) -> None:
    """In a process with users: let them begin."""
    kit = users.Paced.kit
    kit.begin_s = begin_s
    kit.pace.begin(begin_s)
    gevent.spawn(_report, environment, kit)


def _report(environment: Environment, kit: Kit) -> None:
    """Let the reader have what there is, again and again; tell when all users have gone."""
    assert kit.recorder is not None
    while kit.here:
        kit.recorder.flush(time.monotonic() - kit.begin_s, time.process_time())
        gevent.sleep(_FLUSH_S)
    assert environment.runner is not None
    environment.runner.send_message("finished")


@events.quit.add_listener  # type: ignore[untyped-decorator]  # as Locust's is
def write_the_rest(**_: object) -> None:
    """Let the reader have what was not flushed."""
    kit: Kit | None = getattr(users.Paced, "kit", None)
    if kit is not None and kit.recorder is not None:
        kit.recorder.flush(time.monotonic() - kit.begin_s, time.process_time())
        kit.recorder.close()


@events.quitting.add_listener  # type: ignore[untyped-decorator]  # as Locust's is
def fail_on_errors(environment: Environment, **_: object) -> None:
    """Without a plan: exit with 1 when a request failed, so that a script can gate on it."""
    total = environment.stats.total
    if (
        not _PLAN
        and not isinstance(environment.runner, WorkerRunner)
        and (total.num_failures or not total.num_requests)
    ):
        environment.process_exit_code = 1
