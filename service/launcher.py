"""From settings to a running service: sockets, logging, gunicorn and its worker."""

import errno
import logging
import os
import socket
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from gunicorn.app.base import BaseApplication

from service import access, batching_config, config_source, engine_process, grpc_config, shared_metrics, tls
from service.engine import device, link
from service.engine.canary import parse_shares
from service.errors import SettingsError
from service.gateway import monitoring
from service.parent import die_with
from service.runtime import Roster, Runtime, private_folder
from service.settings import Settings
from service.supervisor import Supervisor
from service.version import __version__
from service.worker import Worker


def serve(settings: Settings) -> None:
    """Run the service until it is told to stop.

    Raises:
        StoreError: the store is missing, no folder, or empty.
        SettingsError: a port is in use, or the host is not this machine's.
    """
    logging.basicConfig(
        level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr
    )
    # Without a GPU TensorFlow logs the lack of one as an error; with one its errors are worth reading.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2" if Path("/dev/nvidiactl").exists() else "3")
    if not settings.engine_addresses:
        config_source.check(config_source.from_settings(settings))
    # What is wrong is told now, not by each worker.
    parse_shares(settings.canary_share)
    batching_config.from_settings(settings)
    grpc_config.parse_channel_arguments(settings.grpc_channel_arguments)
    grpc_config.check_socket_path(settings.grpc_socket_path)
    grpc_config.read_tls(settings.ssl_config_file)
    access.check(settings)
    certificates = tls.from_settings(settings)
    link.read(settings.engine_api_key_file, settings.engine_tls_ca_file)
    monitoring.read_path(settings.monitoring_config_file)
    if settings.require_gpu and not settings.engine_addresses and not device.count_gpus():
        raise SettingsError(
            "TensorFlow sees no GPU, and --require-gpu says not to go on without one; docs/deploy.md tells what is "
            "missing most often."
        )
    if settings.ready_file is not None:
        _prepare_ready_file(settings.ready_file)
    with ExitStack() as held:
        grpc_port = None
        if not settings.engine_addresses:
            # Held as long as the service runs, so that each process of it can listen there, and no other program.
            grpc_port = held.enter_context(reserve(settings.host, settings.port, "--port")).getsockname()[1]
        listener = held.enter_context(listen(settings.host, settings.rest_api_port, "--rest_api_port"))
        host, port = listener.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        what = f"the models of {settings.engine}" if settings.engine_addresses else settings.store
        scheme = "http" if certificates is None else "https"
        logging.info("Signpost %s listens on %s://%s:%d; loading %s.", __version__, scheme, shown, port, what)
        folder = held.enter_context(private_folder())
        _run(settings, Runtime(folder, settings.workers, grpc_port, port), listener)


def _run(settings: Settings, runtime: Runtime, listener: socket.socket) -> None:
    """Run gunicorn in this process, or under a supervisor beside the engine process; ends with SystemExit."""
    if settings.engine != "shared":
        _Application(settings, runtime, listener).run()
        return
    supervisor = Supervisor(
        run_engine=lambda lifeline: engine_process.run(settings, runtime, lifeline),
        run_gateways=lambda: _Application(settings, runtime, listener).run(),
        # From then on only the gateways have it: a service that stops refuses connections.
        gateways_started=listener.close,
        runtime=runtime,
        drain_s=_drain_s(settings),
    )
    sys.exit(supervisor.run())


def _drain_s(settings: Settings) -> int:
    """Seconds that a worker may take to finish what it accepted."""
    return settings.rest_api_timeout_in_ms // 1000 + 1


def listen(host: str, port: int, flag: str) -> socket.socket:
    """Bind a listening socket.

    Raises:
        SettingsError: the address can't be had; the message names `flag`.
    """
    listener = _bind(host, port, flag)
    try:
        listener.listen(2048)
    except OSError as error:
        listener.close()
        raise SettingsError(f"{host}:{port} can't be listened on: {_reason(error)}; choose another {flag}.") from error
    return listener


def reserve(host: str, port: int, flag: str) -> socket.socket:
    """Take a port without listening on it, for processes of this user that set SO_REUSEPORT (gRPC's do).

    Raises:
        SettingsError: the address can't be had, or another program has the port; the message names `flag`.
    """
    holder = _bind(host, port, flag)
    # Only now: a port that another program shares must be refused.
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    return holder


def _bind(host: str, port: int, flag: str) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        bound = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError) as error:  # a name that can't even be asked for
        raise SettingsError(f"--host {host} is no address of this machine: {_reason(error)}.") from error
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError as error:
        bound.close()
        if error.errno == errno.EADDRNOTAVAIL:
            raise SettingsError(f"--host {host} is no address of this machine: {_reason(error)}.") from error
        raise SettingsError(f"{host}:{port} can't be listened on: {_reason(error)}; choose another {flag}.") from error
    return bound


def _reason(error: OSError | UnicodeError) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)


def _prepare_ready_file(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)  # one of an earlier run would lie
    except OSError as error:
        raise SettingsError(f"--ready-file {path} can't be removed: {error.strerror}.") from error
    if not os.access(path.parent, os.W_OK):
        raise SettingsError(f"--ready-file {path} can't be written; its folder is missing or read-only.")


class _Application(BaseApplication):  # type: ignore[misc]  # gunicorn has no types
    """Gunicorn's view of Signpost: workers, each of which puts its parts together after the fork."""

    def __init__(self, settings: Settings, runtime: Runtime, listener: socket.socket) -> None:
        self._settings = settings
        self._runtime = runtime
        self._bind = f"fd://{listener.detach()}"
        self._worker: Worker | None = None
        super().__init__()

    def load_config(self) -> None:
        chosen = {
            "bind": self._bind,
            "workers": self._settings.workers,
            "worker_class": "service.gunicorn_worker.JsonWorker",
            "threads": self._settings.threads,
            "keepalive": 75,  # seconds; longer than the idle time of common proxies
            "graceful_timeout": _drain_s(self._settings),
            "loglevel": "warning",
            "proc_name": "signpost",
            "control_socket_disable": True,
            "post_fork": lambda arbiter, _worker: die_with(arbiter.pid),
            "post_worker_init": self._start,
            "worker_exit": lambda _arbiter, _worker: self._stop(),
            "child_exit": lambda _arbiter, worker: self._forget(worker.pid),
        }
        if (files := tls.from_settings(self._settings)) is not None:
            contexts = tls.http_contexts(files)
            chosen |= {
                # That they are there turns TLS on; how, is the context's business.
                "certfile": str(files.certificate),
                "keyfile": str(files.key),
                "ssl_context": lambda _config, _default: contexts.now(),
                "do_handshake_on_connect": True,
            }
        for name, value in chosen.items():
            if name in self.cfg.settings:  # older gunicorns lack some
                self.cfg.set(name, value)

    def load(self) -> Any:
        self._worker = Worker(self._settings, self._runtime)
        return self._worker.app

    def _start(self, process: Any) -> None:
        def goes_on() -> bool:
            process.notify()  # or the arbiter would take it for stuck
            return bool(process.alive)

        if self._worker is not None:
            self._worker.start(goes_on)

    def _stop(self) -> None:
        if self._worker is not None:
            self._worker.stop()

    def _forget(self, pid: int) -> None:
        Roster(self._runtime.folder, self._runtime.workers).forget(pid)
        if self._runtime.workers > 1:
            shared_metrics.forget(self._runtime.metrics, pid)
