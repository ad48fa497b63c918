"""From settings to a running service: sockets, logging, gunicorn and its worker."""

import errno
import logging
import os
import socket
import sys
from contextlib import ExitStack
from pathlib import Path

from service.config import config_source, shape
from service.config.settings import Settings
from service.engine.batching import objective
from service.engine.canary import parse_shares
from service.engine.remote import link
from service.engine.tf import device
from service.errors import SettingsError
from service.gateway.express.lane import why_not_express
from service.gateway.routes import monitoring
from service.parts import batching_config
from service.parts.runtime import Runtime, private_folder
from service.process import engine_process
from service.process.gunicorn_app import GRPC_SOCKET, HTTP_SOCKET, Application, drain_s, inherited
from service.process.supervisor import Supervisor
from service.rpc import config
from service.security import access, tls
from service.telemetry import logs, tracing
from service.version import __version__


def serve(settings: Settings) -> None:
    """Run the service until it is told to stop.

    Raises:
        StoreError: the store is missing, no folder, or empty.
        SettingsError: a port is in use, or the host is not this machine's.
    """
    logs.configure(settings.log_level, settings.log_format == "json")
    if not settings.engine_addresses:
        config_source.check(config_source.from_settings(settings))
    host_has = shape.look()
    settings = shape.choose(settings, host_has)
    if tracing.is_wanted(os.environ) and (reason := tracing.why_not(os.environ)):
        logging.warning("No traces are sent: %s.", reason)
    # Without a GPU TensorFlow logs the lack of one as an error; with one its errors are worth reading.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2" if Path("/dev/nvidiactl").exists() else "3")
    # What is wrong is told now, not by each worker.
    parse_shares(settings.canary_share)
    batching_config.from_settings(settings)
    objective.parse(settings.latency_objective)
    config.parse_channel_arguments(settings.grpc_channel_arguments)
    config.check_socket_path(settings.grpc_socket_path)
    config.read_tls(settings.ssl_config_file)
    access.check(settings)
    for sentence in access.advice(settings):
        logging.warning("%s", sentence)
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
        scheme = "http" if certificates is None else "https"
        logging.info("%s", shape.tell(settings, host_has))
        if reason := why_not_express(settings, tracing.is_wanted(os.environ)):
            logging.info("Posted images go their usual way, one by one, not by the express lane: %s.", reason)
        logging.info("Signpost %s listens on %s://%s:%d; loading %s.", __version__, scheme, shown, port, what)
        folder = held.enter_context(private_folder())
        _run(settings, Runtime(folder, settings.workers, grpc_port, port, predecessor), listener, grpc_holder)


def _what(settings: Settings) -> Path:
    """What says which models are served, for people."""
    return settings.model_config_file or settings.model_base_path or settings.store


def _run(settings: Settings, runtime: Runtime, listener: socket.socket, grpc_holder: socket.socket | None) -> None:
    """Run gunicorn in this process, or under a supervisor beside the engine process; ends with SystemExit."""
    if settings.engine != "shared":
        Application(settings, runtime, listener, grpc_holder).run()
        return
    supervisor = Supervisor(
        run_engine=lambda lifeline: engine_process.run(settings, runtime, lifeline),
        run_gateways=lambda: Application(settings, runtime, listener).run(),
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
