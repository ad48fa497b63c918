"""All settings of `signpost serve`: one frozen dataclass, filled from flags and environment variables.

Each field is a flag (`--rest_api_port`; `-` and `_` are the same) and an environment variable
(`SIGNPOST_REST_API_PORT`). Those that `tensorflow_model_server` also has bear its names.
"""

from collections.abc import Iterator, Mapping
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any

from service.errors import SettingsError

ENVIRONMENT_PREFIX = "SIGNPOST_"


def _setting(default: Any, says: str, least: float | None = None, most: float | None = None) -> Any:
    return field(default=default, metadata={"help": says, "least": least, "most": most})


@dataclass(frozen=True)
class Settings:
    """What `signpost serve` can be told; each field's help is its description.

    Raises:
        SettingsError: a value outside its bounds.
    """

    store: Path = _setting(Path("model_store"), "Folder of the models: <model>/<version>/saved_model.pb.")
    model_config_file: Path | None = _setting(
        None, "TF Serving's ModelServerConfig in text format; without it the store's models.config, if there is one."
    )
    model_config_file_poll_wait_seconds: float = _setting(
        1.0, "Seconds between two looks at the configuration; 0 reads it only at the start.", 0, 86400
    )
    model_name: str = _setting("default", "Name of the model in --model_base_path.")
    model_base_path: Path | None = _setting(None, "Folder of one model's versions, to serve only that model.")
    host: str = _setting("127.0.0.1", "Address to listen on; 0.0.0.0 for every interface.")
    port: int = _setting(8500, "Port for gRPC; 0 picks a free one.", 0, 65535)
    rest_api_port: int = _setting(8501, "Port for HTTP; 0 picks a free one.", 0, 65535)
    ready_file: Path | None = _setting(None, "File to which the ports are written as JSON once the service is ready.")
    threads: int = _setting(16, "Requests that are handled at the same time; further ones wait.", 1, 1024)
    tensorflow_threads: int = _setting(0, "Threads of TensorFlow for one model; 0 means one for each core.", 0, 1024)
    file_system_poll_wait_seconds: float = _setting(1.0, "Seconds between two looks at the store.", 0.05, 86400)
    rest_api_timeout_in_ms: int = _setting(30_000, "Milliseconds in which a request must be answered.", 1, 3_600_000)
    max_batch_size: int = _setting(32, "Instances that run in one batch at most.", 1, 65536)
    batch_timeout_micros: int = _setting(
        0, "Microseconds for which a batch that is not full waits for more; 0 never waits.", 0, 60_000_000
    )
    max_enqueued_batches: int = _setting(
        100, "Full batches that may wait for a model; requests beyond that are refused.", 1, 1_000_000
    )
    num_batch_threads: int = _setting(1, "Batches of one model that may run at the same time.", 1, 256)
    max_body_bytes: int = _setting(64 * 1024 * 1024, "Size of a request's body at most, in bytes.", 1024)
    max_image_bytes: int = _setting(20 * 1024 * 1024, "Size of one encoded image at most, in bytes.", 64)
    # Pillow itself decodes no image of more than 178,956,970 pixels.
    max_image_pixels: int = _setting(50_000_000, "Width times height of one image at most.", 1, 178_956_970)
    max_images: int = _setting(256, "Images in one request at most.", 1, 65536)
    canary_share: str = _setting(
        "0", "Share of the traffic for the version labelled canary: 0.1, or by model: cats_vs_dogs=0.1,letters=0.5."
    )
    canary_mode: str = _setting(
        "route", "route: the canary answers its share; shadow: it only repeats it, and the answers are compared."
    )
    log_level: str = _setting("info", "Least severe messages to log: debug, info, warning or error.")

    def __post_init__(self) -> None:
        """Check the bounds."""
        for each in fields(self):
            value, least, most = getattr(self, each.name), each.metadata["least"], each.metadata["most"]
            # NaN is neither above nor below anything, so it must fail a comparison to be refused.
            if (least is not None and not value >= least) or (most is not None and not value <= most):
                bounds = f"at least {least}" if most is None else f"between {least} and {most}"
                raise SettingsError(f"{flag(each)} must be {bounds}, not {value}.")
        if self.canary_mode not in ("route", "shadow"):
            raise SettingsError(f"--canary-mode must be route or shadow, not {self.canary_mode}.")
        if self.log_level not in ("debug", "info", "warning", "error"):
            raise SettingsError(f"--log-level must be debug, info, warning or error, not {self.log_level}.")


def each_setting() -> Iterator[Field[Any]]:
    """The fields of `Settings` in order; `metadata["help"]` describes each."""
    yield from fields(Settings)


def flag(setting: Field[Any]) -> str:
    """The flag of a setting: as TF Serving writes it for those it has, with hyphens for Signpost's own."""
    return "--" + (setting.name if setting.name in _TF_SERVING else setting.name.replace("_", "-"))


def variable(setting: Field[Any]) -> str:
    """The environment variable of a setting."""
    return ENVIRONMENT_PREFIX + setting.name.upper()


_TF_SERVING = frozenset(
    {
        "model_base_path",
        "model_config_file",
        "model_config_file_poll_wait_seconds",
        "model_name",
        "port",
        "rest_api_port",
        "file_system_poll_wait_seconds",
        "rest_api_timeout_in_ms",
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
