"""From settings to a running service: sockets, logging, gunicorn and its worker."""

import errno
import logging
import os
import socket
import sys
from pathlib import Path
from typing import Any

from gunicorn.app.base import BaseApplication

from service import config_source
from service.engine.canary import parse_shares
from service.errors import SettingsError
from service.settings import Settings
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
    config_source.check(config_source.from_settings(settings))
    parse_shares(settings.canary_share)  # a wrong one is told now, not by each worker
    if settings.ready_file is not None:
        _prepare_ready_file(settings.ready_file)
    if settings.port:
        listen(settings.host, settings.port, "--port").close()  # gRPC binds it after the fork; told now if it can't
    listener = listen(settings.host, settings.rest_api_port, "--rest_api_port")
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    logging.info("Signpost %s listens on http://%s:%d; loading %s.", __version__, shown, port, settings.store)
    _Application(settings, listener, port).run()


def listen(host: str, port: int, flag: str) -> socket.socket:
    """Bind a listening socket.

    Raises:
        SettingsError: the address can't be had; the message names `flag`.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError) as error:  # a name that can't even be asked for
        raise SettingsError(f"--host {host} is no address of this machine: {_reason(error)}.") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(2048)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRNOTAVAIL:
            raise SettingsError(f"--host {host} is no address of this machine: {_reason(error)}.") from error
        raise SettingsError(f"{host}:{port} can't be listened on: {_reason(error)}; choose another {flag}.") from error
    return listener


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
    """Gunicorn's view of Signpost: one worker process, made after the fork."""

    def __init__(self, settings: Settings, listener: socket.socket, rest_api_port: int) -> None:
        self._settings = settings
        self._bind = f"fd://{listener.detach()}"
        self._rest_api_port = rest_api_port
        self._worker: Worker | None = None
        super().__init__()

    def load_config(self) -> None:
        chosen = {
            "bind": self._bind,
            "workers": 1,
            "worker_class": "service.gunicorn_worker.JsonWorker",
            "threads": self._settings.threads,
            "keepalive": 75,  # seconds; longer than the idle time of common proxies
            "graceful_timeout": self._settings.rest_api_timeout_in_ms // 1000 + 1,
            "loglevel": "warning",
            "proc_name": "signpost",
            "control_socket_disable": True,
            "post_worker_init": lambda _worker: self._start(),
            "worker_exit": lambda _arbiter, _worker: self._stop(),
        }
        for name, value in chosen.items():
            if name in self.cfg.settings:  # older gunicorns lack some
                self.cfg.set(name, value)

    def load(self) -> Any:
        self._worker = Worker(self._settings)
        return self._worker.app

    def _start(self) -> None:
        if self._worker is not None:
            self._worker.start(self._rest_api_port)

    def _stop(self) -> None:
        if self._worker is not None:
            self._worker.stop()
