"""What every call of another process has: an ID, the time of each stage, a count; on request a log line and a trace."""

import hmac
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote

from service import errors, protocol
from service.interface import Answer, Servable
from service.rpc.errors import Context, ending, errors_to
from service.telemetry.carried import DEADLINE, REQUEST_ID, as_mapping, milliseconds_in, request_id_in
from service.telemetry.logs import Answered
from service.telemetry.metrics import Metrics
from service.telemetry.timings import Timings
from service.telemetry.tracing import Trace, Tracing

# Seconds beyond which a deadline is gRPC's word for none.
_FOR_EVER_S: Final = 1e9
_OURS_TO_MEND: Final = ("INTERNAL", "UNAVAILABLE", "UNKNOWN", "UNIMPLEMENTED", "DEADLINE_EXCEEDED")


@dataclass(frozen=True)
class Watch:
    """Who is told of each call, and from when on it is answered.

    Attributes:
        metrics: counts it; not those of this service's own gateways, which have counted what they join in a call.
        access_log: whether each call gets a line in the log.
        tracing: where its trace goes.
        link_secret: what this service's own gateways send as their key.
        loading: whether the first models are still loading; until then only those gateways are answered.
    """

    metrics: Metrics | None = None
    access_log: bool = False
    tracing: Tracing | None = None
    link_secret: str = ""
    loading: Callable[[], bool] = lambda: False


class Exchange:
    """The current call.

    Args:
        watch: who is told of it.
        route: the method's full name, with a slash before it.
        metadata: what came with it, by name.
        is_own: whether it comes from a gateway of this service.
        protocol_name: over which protocol, for the log and the trace.
        client: the client's address, for the log.
        arrived_s: time (`time.monotonic()`) at which it arrived, where it waited for a thread; None means now.
        time_remaining: seconds until the deadline that gRPC itself tells; None for none.
    """

    def __init__(
        self,
        watch: Watch,
        route: str,
        metadata: Mapping[str, str],
        is_own: bool,
        *,
        protocol_name: str,
        client: str = "",
        arrived_s: float | None = None,
        time_remaining: Callable[[], float | None] = lambda: None,
    ) -> None:
        """Begin to measure."""
        self.request_id = request_id_in(metadata)
        self.is_own = is_own
        # Its gateways ask for more than their requests need: how the models are, every second.
        self._is_told = not self.is_own or REQUEST_ID in metadata
        self.timings = Timings()
        self.model = self.version = ""
        self.instances = 0
        self.route = route
        self.trace: Trace | None = None
        if watch.tracing is not None and self._is_told:
            self.timings.ended = []
            attributes = {
                "rpc.system": protocol_name.lower(),
                "rpc.method": route,
                "signpost.request_id": self.request_id,
            }
            self.trace = watch.tracing.begin(route.removeprefix("/"), metadata, attributes)
        self._watch = watch
        self._protocol = protocol_name
        self._client = client
        self._started_s = time.monotonic()
        self._arrived_s = self._started_s if arrived_s is None else arrived_s
        self._time_remaining = time_remaining
        self._deadline_ms = metadata.get(DEADLINE)

    def patience(self, default_s: float) -> tuple[float, str]:
        """How long the client waits: the earlier of gRPC's own deadline and what the metadata say was left.

        Args:
            default_s: seconds from now, where the call has no deadline.

        Returns:
            Time (`time.monotonic()`) until which it waits, and what limits it, for people.

        Raises:
            InvalidRequest: the metadata say what is not a whole number of milliseconds of at least 1.
        """
        now_s = time.monotonic()
        remaining_s = self._time_remaining()
        limits = []
        if remaining_s is not None and remaining_s <= _FOR_EVER_S:
            limits.append((now_s + remaining_s, "the call's deadline"))
        if self._deadline_ms is not None:
            left_ms = milliseconds_in(self._deadline_ms, DEADLINE)
            limits.append((self._arrived_s + left_ms / 1e3, f"the {left_ms} ms of {DEADLINE}"))
        return min(limits, default=(now_s + default_s, f"the service's {default_s * 1e3:.0f} ms"))

    def served_by(self, servable: Servable) -> None:
        """Note what answers; only names that exist, as they become metrics."""
        self.model, self.version = servable.name, str(servable.version)

    def ran(self, answer: Answer) -> None:
        """Note how a model ran for it."""
        self.instances += answer.rows
        self.timings.add("queue", answer.queue_s)
        self.timings.add("infer", answer.infer_s)
        if self._watch.metrics is not None and not self.is_own:
            self._watch.metrics.count_batch(self.model, int(self.version), answer.batch_rows, rows=answer.rows)

    def told(self, sizes: Callable[[], tuple[int, int]]) -> AbstractContextManager[None]:
        """Go through it and `end` it; `sizes`, asked then, are the bytes of the request and of the answer."""
        return ending(lambda status: self.end(status, *(sizes() if self._watch.access_log else (None, None))))

    def end(self, status: str, bytes_in: int | None, bytes_out: int | None) -> None:
        """Tell everybody how it ended."""
        self.timings.add("total", time.monotonic() - self._started_s)
        watch = self._watch
        if watch.metrics is not None and not self.is_own:
            watch.metrics.count(self.route, self.model, self.version, status, self.timings.stages_s)
        if watch.access_log and self._is_told:
            Answered(
                self._protocol, self.request_id, "POST", self.route, status, self.model, self.version, 0,
                self.instances, self.timings.stages_s, bytes_in, bytes_out, self._client,
            ).write()  # fmt: skip
        if self.trace is not None:
            self.trace.end(
                (self.timings.ended or [])[:-1],  # the total is the call's own span
                {
                    "rpc.response.status_code": status,
                    "signpost.model": self.model,
                    "signpost.version": self.version,
                    "signpost.instances": self.instances,
                },
                status if status in _OURS_TO_MEND else "",
            )


def begin(watch: Watch, context: Context, route: str, arrived_s: float | None = None) -> Exchange:
    """Begin a call over gRPC, and tell the client its ID; `arrived_s` as for an `Exchange`."""
    metadata = as_mapping(context.invocation_metadata())
    current = Exchange(
        watch,
        route,
        metadata,
        is_own(metadata, watch.link_secret),
        protocol_name="gRPC",
        client=_address(context.peer()) if watch.access_log else "",
        arrived_s=arrived_s,
        time_remaining=context.time_remaining,
    )
    context.set_trailing_metadata(((REQUEST_ID, current.request_id),))
    return current


@contextmanager
def exchange(
    watch: Watch,
    context: Context,
    route: str,
    request: Any,
    response: Any,
    while_loading: bool = False,
    arrived_s: float | None = None,
) -> Iterator[Exchange]:
    """Go through a call: errors end it with their code, and it is told of however it ends.

    Args:
        watch: who is told.
        context: gRPC's.
        route: the method's full name, with a slash before it.
        request: the message.
        response: the message to be filled.
        while_loading: whether it is answered while the first models load, see `Watch`.
        arrived_s: see `Exchange`.
    """
    with errors_to(context):
        current = begin(watch, context, route, arrived_s)
        with current.told(lambda: (request.ByteSize(), response.ByteSize())):
            current.patience(0.0)  # what is wrong with it is told, whether or not the call takes any time
            if not (while_loading or current.is_own) and watch.loading():
                raise errors.Unavailable(protocol.STILL_LOADING)
            yield current


def is_own(metadata: Mapping[str, str], link_secret: str) -> bool:
    """Whether a call comes from a gateway of this service."""
    sent = metadata.get("authorization", "") if link_secret else ""
    return bool(sent) and hmac.compare_digest(sent.encode(), f"Bearer {link_secret}".encode())


def _address(peer: str) -> str:
    """The address in gRPC's name of a client: `ipv4:192.0.2.1:1234`, `ipv6:%5B::1%5D:1234`, `unix:…`."""
    kind, _, rest = unquote(peer).partition(":")
    return rest.rpartition(":")[0].strip("[]") if kind in ("ipv4", "ipv6") else kind
