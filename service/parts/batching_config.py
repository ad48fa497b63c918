"""How requests are batched: flags, and TF Serving's file of batching parameters over them."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Final

from service.config import text_messages
from service.config.settings import AUTO, Settings
from service.engine.batching.parameters import BatchingParameters
from service.errors import SettingsError

log = logging.getLogger(__name__)

# In the store; read when --batching_parameters_file names no other.
CONFIG_NAME: Final = "batching.config"


def from_settings(settings: Settings) -> BatchingParameters | None:
    """The parameters to batch with; None where requests are not to be batched.

    What the file names counts; what it does not name is as the flags say.

    Raises:
        SettingsError: the file can't be read, or its parameters do not fit each other.
    """
    if settings.enable_batching == "false":
        if settings.batching_parameters_file is not None:
            raise SettingsError("--batching_parameters_file has no effect with --enable_batching=false; leave one out.")
        return None
    flags = BatchingParameters(
        max_batch_size=settings.max_batch_size,
        batch_timeout_micros=settings.batch_timeout_micros,
        max_enqueued_batches=settings.max_enqueued_batches,
        num_batch_threads=1 if settings.num_batch_threads == AUTO else settings.num_batch_threads,
        pairs=settings.num_batch_threads == AUTO,
        max_batch_memory_mb=settings.max_batch_memory_mb,
        max_queue_s=settings.max_queue_ms / 1e3,
        max_instances=settings.max_instances,
        row_test=settings.enable_batching == "auto",
        recheck_share=settings.recheck_share,
    )
    path = settings.batching_parameters_file or settings.store / CONFIG_NAME
    if settings.batching_parameters_file is None and not path.is_file():
        return flags
    return read(path, flags)


def read(path: Path, defaults: BatchingParameters) -> BatchingParameters:
    """Read a file that holds `tensorflow.serving.BatchingParameters` in text format.

    Args:
        path: the file.
        defaults: what counts where the file names nothing.

    Raises:
        SettingsError: it can't be read, or its parameters do not fit each other.
    """
    proto = text_messages.read(path, "BatchingParameters")

    def chosen(name: str) -> int:
        value: int = getattr(proto, name).value if proto.HasField(name) else getattr(defaults, name)
        return value

    size = chosen("max_batch_size")
    if proto.HasField("max_execution_batch_size") and proto.enable_large_batch_splitting.value:
        size = proto.max_execution_batch_size.value  # a larger request is split here in any case
    if proto.pad_variable_length_inputs:
        log.info("%s: inputs of different lengths are not padded; they run in separate batches.", path)
    try:
        return replace(
            defaults,
            max_batch_size=size,
            batch_timeout_micros=chosen("batch_timeout_micros"),
            max_enqueued_batches=chosen("max_enqueued_batches"),
            num_batch_threads=chosen("num_batch_threads"),
            pairs=defaults.pairs and not proto.HasField("num_batch_threads"),
            allowed_batch_sizes=tuple(proto.allowed_batch_sizes),
        )
    except ValueError as error:
        raise SettingsError(f"{path}: {error}.") from error
