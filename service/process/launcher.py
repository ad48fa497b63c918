"""From settings to a running service: sockets, logging, gunicorn and its worker."""

import errno
import logging
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from service.config import config_source, shape
from service.config.settings import Settings
from service.engine.tf import device
from service.errors import SettingsError
from service.gateway.express.lane import why_not_express
from service.objects import urls
from service.parts import plan
from service.parts.plan import Plan
from service.parts.runtime import Runtime, private_folder
from service.process import engine_process
from service.process.gunicorn_app import GRPC_SOCKET, HTTP_SOCKET, Application, drain_s, inherited
from service.process.supervisor import Supervisor
from service.security import access
from service.telemetry import logs, tracing
from service.version import __version__


def serve(settings: Settings) -> None:
    """Run the service until it is told to stop.

    Raises:
        StoreError: the store is missing, no folder, or empty.
        SettingsError: a port is in use, or the host is not this machine's.
    """
    logs.configure(settings.log_level, settings.log_format == "json")
    with private_folder() as folder, mirrored(settings, folder) as before_copy:
        _serve(before_copy, folder)


@contextmanager
def mirrored(settings: Settings, folder: Path) -> Iterator[Settings]:
    """The settings of a service of folders: what they name in object storage is copied, and kept in step meanwhile.

    Raises:
        SettingsError, StoreError: see `service.objects.mirror`.
    """
    named = (settings.store, settings.model_base_path, settings.model_config_file)
    config = settings.model_config_file or settings.store / config_source.CONFIG_NAME
    if not (any(each is not None and urls.is_url(each) for each in named) or urls.are_named_in(config)):
        yield settings
        return
    from service.objects.mirror import configs  # only where something may have to be copied
    from service.process import mirror_process

    source = configs.from_settings(settings)
    if source is None:
        yield settings
        return
    with mirror_process.mirroring(source, folder, settings.store_poll_seconds):
        yield configs.localise(settings, source)


def _serve(settings: Settings, folder: Path) -> None:
    """Run the service of a store in a folder."""
    if not settings.engine_addresses:
        config_source.check(config_source.from_settings(settings))
    host_has = shape.look()
    settings = shape.choose(settings, host_has)
    if tracing.is_wanted(os.environ) and (reason := tracing.why_not(os.environ)):
        logging.warning("Traces are not sent: %s.", reason)
    planned = plan.make(settings)  # what is wrong is told now, not by each worker
    for sentence in access.advice(settings, planned.keys.needs_key):
        logging.warning("%s", sentence)
    if settings.require_gpu and not settings.engine_addresses and not device.count_gpus():
        raise SettingsError("TensorFlow sees no GPU, and --require-gpu is set; docs/deploy.md lists the usual causes.")
    if settings.ready_file is not None:
        _prepare_ready_file(settings.ready_file)
    with ExitStack() as held:
        # Gunicorn's own name for the process that this one is to follow (SIGUSR2).
        predecessor = int(os.environ.get("GUNICORN_PID", 0))
        grpc_holder = inherited(GRPC_SOCKET)
        if not settings.engine_addresses:
            # Held as long as the service runs, so that each process of it can listen there, and no other program.
            grpc_holder = held.enter_context(grpc_holder or reserve(settings.host, settings.port, "--port"))
        grpc_port = None if grpc_holder is None else grpc_holder.getsockname()[1]
        listener = held.enter_context(
            inherited(HTTP_SOCKET) or listen(settings.host, settings.rest_api_port, "--rest_api_port")
        )
        host, port = listener.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        what = f"the models of {settings.engine}" if settings.engine_addresses else _what(settings)
        scheme = "http" if planned.tls is None else "https"
        logging.info("%s", shape.tell(settings, host_has))
        if reason := why_not_express(settings, tracing.is_wanted(os.environ)):
            logging.info("Posted images are handled one by one, not in the express lane: %s.", reason)
        logging.info("Signpost %s listens on %s://%s:%d; loading %s.", __version__, scheme, shown, port, what)
        _run(planned, Runtime(folder, settings.workers, grpc_port, port, predecessor), listener, grpc_holder)


def _what(settings: Settings) -> Path:
    """What says which models are served, for people."""
    return settings.model_config_file or settings.model_base_path or settings.store


def _run(planned: Plan, runtime: Runtime, listener: socket.socket, grpc_holder: socket.socket | None) -> None:
    """Run gunicorn in this process, or under a supervisor beside the engine process; ends with SystemExit."""
    settings = planned.settings
    if settings.engine != "shared":
        Application(planned, runtime, listener, grpc_holder).run()
        return
    supervisor = Supervisor(
        run_engine=lambda lifeline: engine_process.run(planned, runtime, lifeline),
        run_gateways=lambda: Application(planned, runtime, listener).run(),
        # From then on only the gateways have it: a service that stops refuses connections.
        gateways_started=listener.close,
        runtime=runtime,
        drain_s=settings.drain_seconds + drain_s(settings),
    )
    sys.exit(supervisor.run())


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
        raise SettingsError(f"{host}:{port} is not available: {_reason(error)}; choose another {flag}.") from error
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
        raise SettingsError(f"--host {host} is not an address of this machine: {_reason(error)}.") from error
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError as error:
        bound.close()
        if error.errno == errno.EADDRNOTAVAIL:
            raise SettingsError(f"--host {host} is not an address of this machine: {_reason(error)}.") from error
        raise SettingsError(f"{host}:{port} is not available: {_reason(error)}; choose another {flag}.") from error
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
