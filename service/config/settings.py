"""All settings of `signpost serve`: one frozen dataclass, filled from flags and environment variables.

Each field is a flag (`--rest_api_port`; `-` and `_` are the same) and an environment variable
(`SIGNPOST_REST_API_PORT`). Those that `tensorflow_model_server` also has bear its names.
"""

from collections.abc import Iterator, Mapping
from dataclasses import Field, dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from service.config import tf_serving_flags
from service.errors import SettingsError

ENVIRONMENT_PREFIX = "SIGNPOST_"


# A number that `service.config.shape` chooses.
AUTO = -1


def _setting(
    default: Any,
    says: str,
    least: float | None = None,
    most: float | None = None,
    *,
    auto: bool = False,
    section: str = "",
    switch: bool = False,
) -> Any:
    """A field; with `auto` the command chooses the value by the host (`service.config.shape`) unless it is told one.

    A `section` begins with its first field. A `switch` takes true, false or auto; its flag alone is true.
    """
    about = {"help": says, "least": least, "most": most, "auto": auto, "section": section, "switch": switch}
    return field(default=default, metadata=about)


@dataclass(frozen=True)
class Settings:
    """What `signpost serve` can be told; each field's help is its description.

    Raises:
        SettingsError: a value outside its bounds or choices.
    """

    store: Path = _setting(
        Path("model_store"),
        "Folder of the models: MODEL/VERSION/saved_model.pb; or their address in object storage: s3://BUCKET/PREFIX, "
        "gs://… or az://….",
        section="Models",
    )
    model_config_file: Path | None = _setting(
        None, "TF Serving's ModelServerConfig in text format; without it the store's models.config, if there is one."
    )
    model_config_file_poll_wait_seconds: float = _setting(
        1.0, "Seconds between checks of the configuration; 0 reads it only at startup.", 0, 86400
    )
    file_system_poll_wait_seconds: float = _setting(1.0, "Seconds between checks of the store.", 0.05, 86400)
    model_name: str = _setting("default", "Name of the model in --model_base_path.")
    model_base_path: Path | None = _setting(
        None, "Folder of one model's versions, or their address in object storage, to serve only that model."
    )
    saved_model_tags: str = _setting("serve", "Tags of the graph to serve, separated by commas.")
    enable_model_warmup: bool = _setting(True, "Replay a version's warm-up file before it serves.")
    num_request_iterations_for_warmup: int = _setting(1, "How many times each request of a warm-up file runs.", 0, 1000)
    canary_share: str = _setting(
        "0", "Share of the traffic for the version labelled canary: 0.1, or by model: cats_vs_dogs=0.1,letters=0.5."
    )
    canary_mode: Literal["route", "shadow"] = _setting(
        "route",
        "route: the canary answers its share; shadow: it only repeats those requests, and the answers are compared.",
    )
    reject_unknown: bool = _setting(
        False,
        "Return no class for images that the model reports as unlike its training images: all their scores are 0.",
    )
    store_cache: Path | None = _setting(
        None,
        "Folder for local copies of what is served, and for what --runtime=auto has found; by default one in "
        "$XDG_CACHE_HOME or ~/.cache.",
        section="Object storage",
    )
    store_poll_seconds: float = _setting(5.0, "Seconds between checks of the bucket.", 0.05, 86400)
    host: str = _setting("127.0.0.1", "Address to listen on; 0.0.0.0 for every interface.", section="Where it listens")
    rest_api_port: int = _setting(8501, "Port for HTTP; 0 picks a free one.", 0, 65535)
    port: int = _setting(8500, "Port for gRPC; 0 picks a free one.", 0, 65535)
    grpc_socket_path: Path | None = _setting(None, "Unix socket on which gRPC listens in addition to its port.")
    grpc_channel_arguments: str = _setting(
        "", "Arguments for gRPC's core, separated by commas: grpc.max_connection_age_ms=2000."
    )
    grpc_max_threads: int = _setting(0, "gRPC calls that are handled at the same time; 0 means --threads.", 0, 1024)
    enable_serialization_as_tensor_content: bool = _setting(
        False, "Answer Predict over gRPC with tensor_content, which is faster, rather than float_val and the like."
    )
    rest_api_enable_cors_support: bool = _setting(False, "Allow web pages of any origin to use the routes under /v1.")
    playground: bool = _setting(
        True, "Serve the playground, a page to try the models on, at /; --no-playground turns it off."
    )
    ready_file: Path | None = _setting(None, "File to which the ports are written as JSON once the service is ready.")
    workers: int = _setting(
        1, "Processes that take HTTP requests.", 1, 1024, auto=True, section="Processes and engines"
    )
    threads: int = _setting(16, "Requests that each worker handles at the same time; others wait.", 1, 1024, auto=True)
    pin_workers: bool = _setting(
        True,
        "Pin each worker to its own core, if there are as many cores as workers and the models run in the workers.",
    )
    engine: str = _setting(
        "local",
        "What runs the models: local, in each worker; shared, one process for all workers; or addresses of "
        "gRPC servers, separated by commas: HOST:PORT, unix:PATH, or dns:NAME:PORT for every address of a name.",
        auto=True,
    )
    engine_models: str = _setting(
        "", "Models behind --engine HOST:PORT, for servers that can't list them, separated by commas."
    )
    engine_api_key_file: Path | None = _setting(None, "File that holds the API key for --engine HOST:PORT.")
    engine_tls_ca_file: Path | None = _setting(
        None, "CA certificates in PEM format: requests to --engine HOST:PORT go over TLS."
    )
    enable_batching: Literal["auto", "true", "false"] = _setting(
        "auto",
        "Run waiting requests together in batches: auto, where a model's rows are shown to be independent; "
        "true, wherever its shapes allow it; or false.",
        section="Batches and queues",
        switch=True,
    )
    recheck_share: float = _setting(
        0.001, "Share of these batches that are rerun row by row in the background and compared.", 0, 1
    )
    max_batch_size: int = _setting(
        32,
        "Maximum instances in one batch, fewer where that is faster; auto is 64 with a GPU, else 32.",
        1,
        65536,
        auto=True,
    )
    max_batch_memory_mb: int = _setting(
        256,
        "Maximum MiB that a model may use for one batch on a CPU, besides its weights; batches that would need "
        "more have fewer instances; 0 for no limit.",
        0,
        1_000_000,
    )
    pad_batches: Literal["auto", "true", "false"] = _setting(
        "auto",
        "Run only batch sizes that were warmed up (powers of two), and pad to them: true, false, or auto, on a GPU.",
        switch=True,
    )
    batch_timeout_micros: int = _setting(
        0, "Microseconds that a batch which is not full waits for more requests; 0 never waits.", 0, 60_000_000
    )
    num_batch_threads: int = _setting(
        1,
        "Batches of one model that may run at the same time; auto is 1, or 2 on each GPU where that is faster, "
        "or one per core where a shared engine has no GPU.",
        1,
        256,
        auto=True,
    )
    batching_parameters_file: Path | None = _setting(
        None, "TF Serving's BatchingParameters in text format; without it the store's batching.config, if there is one."
    )
    max_enqueued_batches: int = _setting(
        100, "Full batches that may wait for a model; further requests are refused.", 1, 1_000_000
    )
    max_instances: int = _setting(
        100_000, "Maximum instances in one request, where requests run together.", 1, 100_000_000
    )
    max_queue_ms: int = _setting(
        300,
        "Milliseconds that a request may wait for its turn; if it would wait longer, it is refused (429).",
        0,
        3_600_000,
    )
    latency_objective: str = _setting(
        "",
        "Latency for the batcher to keep; it then chooses batch size and wait itself: p99=50ms, or by model: "
        "cats_vs_dogs:p99=80ms,p99=50ms.",
    )
    tensorflow_threads: int = _setting(
        0, "TensorFlow threads for one model; 0 shares the cores among the workers.", 0, 1024, section="TensorFlow"
    )
    tensorflow_intra_op_parallelism: int = _setting(
        0, "TensorFlow threads for one operation; 0 means --tensorflow-threads.", 0, 1024
    )
    tensorflow_inter_op_parallelism: int = _setting(
        0, "Operations that TensorFlow runs at the same time; 0 means --tensorflow-threads.", 0, 1024
    )
    mixed_precision: Literal["bfloat16", ""] = _setting(
        "",
        "bfloat16 computes in 16 bits where that is safe (float16 on a GPU); recorded scores must still be reproduced.",
    )
    runtime: str = _setting(
        "auto",
        "What runs the models: tensorflow, openvino, xla, or auto, the fastest of those installed that answers the "
        "same; or by model: cats_vs_dogs=openvino,auto.",
    )
    int8: bool = _setting(
        True,
        "Run in 8 bits what `signpost train --quantize int8` published so, where OpenVINO may run it; false: in float.",
    )
    per_process_gpu_memory_fraction: float = _setting(
        0.0, "Share of each GPU's memory to allocate at startup; 0 allocates memory as needed.", 0, 1
    )
    require_gpu: bool = _setting(False, "Refuse to start if TensorFlow sees no GPU, instead of using the CPU.")
    max_body_bytes: int = _setting(
        64 * 1024 * 1024, "Maximum size of a request's body, in bytes.", 1024, section="Limits of requests"
    )
    max_images: int = _setting(256, "Maximum images in one request.", 1, 65536)
    max_image_bytes: int = _setting(20 * 1024 * 1024, "Maximum size of one encoded image, in bytes.", 64)
    # Pillow itself decodes no image of more than 178,956,970 pixels.
    max_image_pixels: int = _setting(50_000_000, "Maximum width times height of one image.", 1, 178_956_970)
    max_json_depth: int = _setting(64, "Maximum nesting depth of lists and objects in JSON.", 4, 500)
    max_form_bytes: int = _setting(
        512 * 1024,
        "Maximum size of a form's plain fields, and of the headers of each of its files, in bytes.",
        128 * 1024,
    )
    max_header_fields: int = _setting(100, "Maximum number of fields in a request's header.", 8, 32768)
    max_header_field_bytes: int = _setting(8190, "Maximum size of one header field, in bytes.", 256, 1024 * 1024)
    max_request_line_bytes: int = _setting(4094, "Maximum size of a request's first line, in bytes.", 256, 8190)
    rest_api_timeout_in_ms: int = _setting(
        30_000,
        "Milliseconds within which a request must be answered.",
        1,
        3_600_000,
        section="Limits of time and connections",
    )
    header_timeout_s: float = _setting(10.0, "Seconds for a request's header to arrive.", 0.1, 3600)
    body_timeout_s: float = _setting(60.0, "Seconds for a request's body to arrive.", 0.1, 86400)
    answer_timeout_s: float = _setting(60.0, "Seconds for a client to read its answer.", 0.1, 86400)
    keep_alive_s: int = _setting(75, "Seconds after which an idle connection is closed.", 1, 86400)
    max_slow_requests: int = _setting(
        256,
        "Requests that may be arriving slowly, besides those that --threads handle; any more are refused.",
        0,
        32768,
    )
    max_connections: int = _setting(
        4096, "Maximum connections of one worker; beyond that, those idle the longest are closed.", 16, 1_000_000
    )
    drain_seconds: float = _setting(
        0.0, "Seconds between SIGTERM, when the service reports not ready, and the end of listening.", 0, 3600
    )
    api_keys_file: Path | None = _setting(
        None,
        "File of API keys, as `signpost keys new` writes it; with keys, every client needs one.",
        section="Keys and TLS",
    )
    api_keys: str = _setting("", "Lines of such a file, separated by commas, instead of the file or in addition to it.")
    ssl_certificate_file: Path | None = _setting(
        None, "Certificate in PEM format, with its intermediate certificates: HTTP and gRPC speak TLS only."
    )
    ssl_key_file: Path | None = _setting(None, "Private key of the certificate, in PEM format.")
    ssl_client_ca_file: Path | None = _setting(
        None, "CA certificates in PEM format; each client must present a certificate issued by one of them."
    )
    ssl_config_file: Path | None = _setting(None, "TF Serving's SSLConfig in text format: gRPC speaks TLS only.")
    log_level: Literal["debug", "info", "warning", "error"] = _setting(
        "info", "Least severe messages to log: debug, info, warning or error.", section="Log and metrics"
    )
    log_format: Literal["text", "json"] = _setting("text", "Log format: text, or json for one JSON object per line.")
    access_log: bool = _setting(False, "Log a line for each answered request.")
    monitoring_config_file: Path | None = _setting(
        None, "TF Serving's MonitoringConfig in text format: its metrics under its path and names."
    )

    def __post_init__(self) -> None:
        """Check the bounds and the choices."""
        for each in fields(self):
            value, least, most = getattr(self, each.name), each.metadata["least"], each.metadata["most"]
            if each.metadata["auto"] and value == AUTO:
                continue
            # NaN is neither above nor below anything, so it must fail a comparison to be refused.
            if (least is not None and not value >= least) or (most is not None and not value <= most):
                bounds = f"at least {least}" if most is None else f"between {least} and {most}"
                raise SettingsError(f"{flag(each)} must be {bounds}, not {value}.")
            if get_origin(each.type) is Literal and value not in get_args(each.type):
                *others, last = (choice or "empty" for choice in get_args(each.type))
                raise SettingsError(f"{flag(each)} must be {', '.join(others)} or {last}, not {value}.")
        for address in self.engine_addresses:
            host, _, port = address.removeprefix("dns:").rpartition(":")
            is_number = port.isascii() and port.isdigit() and 0 < int(port) < 65536
            if not (address.startswith("unix:/") or (host and "/" not in host and is_number)):
                raise SettingsError(
                    "--engine takes auto, local, shared, or addresses separated by commas: HOST:PORT, "
                    f"dns:NAME:PORT or unix:/PATH; {address!r} is none of these."
                )

    @property
    def has_many_processes(self) -> bool:
        """Whether several processes handle requests."""
        return self.workers > 1 or self.engine == "shared"

    @cached_property
    def engine_addresses(self) -> tuple[str, ...]:
        """The addresses of a remote engine; none where the engine is this service's own."""
        if self.engine in ("auto", "local", "shared"):
            return ()
        return tuple(part.strip() for part in self.engine.split(","))


def each_setting() -> Iterator[Field[Any]]:
    """The fields of `Settings` in order; `metadata["help"]` describes each."""
    yield from fields(Settings)


def sections() -> dict[str, list[Field[Any]]]:
    """The fields of `Settings` by what they are about."""
    found: dict[str, list[Field[Any]]] = {}
    for setting in each_setting():
        if setting.metadata["section"]:
            found[setting.metadata["section"]] = []
        next(reversed(found.values())).append(setting)
    return found


def default_of(setting: Field[Any]) -> Any:
    """What a setting is for the command where it is not told; made in Python, `Settings()` chooses nothing."""
    return "auto" if setting.metadata["auto"] else setting.default


def flag(setting: Field[Any]) -> str:
    """The flag of a setting: as TF Serving writes it for those it has, with hyphens for Signpost's own."""
    return "--" + (setting.name if setting.name in _TF_SERVING else setting.name.replace("_", "-"))


def flags(setting: Field[Any]) -> tuple[str, ...]:
    """All flags of a setting: its own first, then what TF Serving calls it."""
    own = flag(setting)
    others = (f"--{each.name}" for each in tf_serving_flags.FLAGS if each.setting == setting.name)
    return (own, *(other for other in others if other != own))


def variable(setting: Field[Any]) -> str:
    """The environment variable of a setting."""
    return ENVIRONMENT_PREFIX + setting.name.upper()


# What tensorflow_model_server calls so, as a flag or in its file of batching parameters.
_TF_SERVING = frozenset(
    {
        *(each.setting for each in tf_serving_flags.FLAGS if each.setting == each.name),
        "max_batch_size",
        "batch_timeout_micros",
        "max_enqueued_batches",
        "num_batch_threads",
    }
)


def unknown_variables(environment: Mapping[str, str]) -> list[str]:
    """Variables that look like settings and are none: typing errors that would otherwise be silent."""
    known = {variable(setting) for setting in each_setting()}
    return sorted(name for name in environment if name.startswith(ENVIRONMENT_PREFIX) and name not in known)
