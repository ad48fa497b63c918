"""Gunicorn's view of Signpost: its configuration, and workers each of which puts its parts together after the fork."""

import logging
import os
import resource
import socket
from typing import Any, Final

from gunicorn.app.base import BaseApplication

from service.config import shape
from service.config.settings import Settings
from service.http.front import Parts
from service.http.worker import FrontWorker
from service.parts import engines
from service.parts.plan import Plan
from service.parts.runtime import Roster, Runtime
from service.process.gunicorn_arbiter import ServiceArbiter
from service.process.parent import die_with
from service.process.worker import Worker
from service.security import tls
from service.telemetry import logs, shared_metrics, tensorflow_noise

log = logging.getLogger(__name__)

# Names of the open sockets that a process hands to the one that follows it: gunicorn's own, and for gRPC.
HTTP_SOCKET: Final = "GUNICORN_FD"
GRPC_SOCKET: Final = "_SIGNPOST_GRPC_FD"
# Files that a worker has open beside its connections: libraries, models, gRPC.
_OTHER_FILES: Final = 512


class Application(BaseApplication):  # type: ignore[misc]  # gunicorn has no types
    """See the module.

    Args:
        plan: of the service.
        runtime: of the service.
        listener: the socket for HTTP; gunicorn takes it over.
        grpc_holder: the socket that holds gRPC's port, for a process that follows this one.
    """

    def __init__(
        self, plan: Plan, runtime: Runtime, listener: socket.socket, grpc_holder: socket.socket | None = None
    ) -> None:
        """Start nothing yet."""
        self.settings = settings = plan.settings
        self._plan = plan
        self.runtime = runtime
        # Whether a supervisor has started this process.
        self.supervised = settings.engine == "shared"
        self._grpc_holder = grpc_holder
        self._bind = f"fd://{listener.detach()}"
        self._connections = _connections(settings.max_connections)
        self._worker: Worker | None = None
        self.drain_s = drain_s(settings)
        self._tls = tls.http_contexts(plan.tls) if plan.tls is not None else None
        super().__init__()

    def run(self) -> None:
        """Serve until told to stop; ends with SystemExit."""
        ServiceArbiter(self).run()

    def load_config(self) -> None:
        """Tell gunicorn what the settings say."""
        settings = self.settings
        chosen = {
            "bind": self._bind,
            "workers": settings.workers,
            "worker_class": FrontWorker,
            "graceful_timeout": self.drain_s,
            "loglevel": "warning",
            "logger_class": "service.process.gunicorn_log.RootLog",
            "proc_name": "signpost",
            "control_socket_disable": True,
            "pre_exec": lambda arbiter: self._hand_over(arbiter.cfg.env_orig),
            "pre_fork": lambda _arbiter, worker: self._reserve(worker),
            "post_fork": lambda arbiter, _worker: self._begin(arbiter.pid),
            "post_worker_init": self._start,
            "worker_exit": lambda _arbiter, _worker: self._stop(),
            "child_exit": lambda _arbiter, worker: self._forget(worker),
            "on_exit": lambda _arbiter: self._say_stopped(),
        }
        for name, value in chosen.items():
            self.cfg.set(name, value)

    def load(self) -> Any:
        """The WSGI application of a worker."""
        self._worker = Worker(self._plan, self.runtime)
        return self._worker.app

    def front_parts(self) -> Parts:
        """What the front of a worker is made of."""
        worker = self._worker
        assert worker is not None  # gunicorn loads the application first
        return Parts(
            settings=self.settings,
            service=self.runtime,
            app=worker.app,
            queue=worker.front_queue,
            unrouted=worker.unrouted,
            express=worker.app.extensions.get("express"),
            tls=self._tls.now if self._tls is not None else None,
            most_connections=self._connections,
        )

    def stop_accepting(self) -> None:
        """Called by a worker that takes no further connections."""
        if self._worker is not None:
            self._worker.refuse()

    def _start(self, process: Any) -> None:
        def goes_on() -> bool:
            process.notify()  # or the arbiter would take it for stuck
            return bool(process.alive)

        if self._worker is not None:
            self._worker.start(goes_on)
        # Only now: what loads the models may use every core.
        cores = shape.own_cores(self.settings, os.sched_getaffinity(0))
        if cores and process.place is not None:
            os.sched_setaffinity(0, {cores[process.place % len(cores)]})

    def _stop(self) -> None:
        if self._worker is not None:
            self._worker.stop()

    def _begin(self, parent: int) -> None:
        die_with(parent)
        if self.settings.has_many_processes:
            logs.name_process(f"worker {os.getpid()}", self.runtime.folder)

    def _reserve(self, worker: Any) -> None:
        worker.place = self.runtime.connections.reserve()

    def _forget(self, worker: Any) -> None:
        self.runtime.connections.free(worker.place)
        tensorflow_noise.show_left(self.runtime.folder, worker.pid)
        Roster(self.runtime.folder, self.runtime.workers).forget(worker.pid)
        self._forget_offer(worker.pid)
        if self.settings.has_many_processes:
            shared_metrics.forget(self.runtime.metrics, worker.pid)

    def _forget_offer(self, pid: int) -> None:
        try:
            engines.shared_view(self.runtime).forget(pid)
        except OSError as error:  # the worker that follows it tells the others
            log.warning("The other workers can't be told that worker %d has ended: %s.", pid, error.strerror)

    def _say_stopped(self) -> None:
        if not self.supervised:  # else the supervisor does
            log.info("Stopped.")

    def _hand_over(self, environment: dict[str, str]) -> None:
        """Let the process that follows have the socket that holds gRPC's port; runs in it."""
        if self._grpc_holder is not None:
            self._grpc_holder.set_inheritable(True)
            environment[GRPC_SOCKET] = str(self._grpc_holder.fileno())


def drain_s(settings: Settings) -> int:
    """Seconds that a worker may take to finish what it accepted."""
    return settings.rest_api_timeout_in_ms // 1000 + 1


def inherited(name: str) -> socket.socket | None:
    """A socket that the process before this one has handed over; None if there is none."""
    text = os.environ.pop(name, "")
    return socket.socket(fileno=int(text)) if text else None


def _connections(wanted: int) -> int:
    """How many connections a worker can have, once its limit of open files is as high as it may be."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + _OTHER_FILES
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return wanted
    highest = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest, hard))
    if highest < needed:
        log.warning(
            "--max-connections is lowered to %d, as at most %d files may be open (ulimit -n).",
            highest - _OTHER_FILES,
            highest,
        )
    return max(16, highest - _OTHER_FILES)
