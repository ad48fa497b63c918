"""Whether and where TF Serving's metrics are shown: its file of monitoring."""

from pathlib import Path
from typing import Final

from service.config import text_messages
from service.errors import SettingsError

_DEFAULT_PATH: Final = "/monitoring/prometheus/metrics"


def read_path(file: Path | None) -> str | None:
    """The path that a file with `tensorflow.serving.MonitoringConfig` in text format names; None where it enables none.

    Raises:
        SettingsError: it can't be read, or its path does not begin with a slash.
    """
    if file is None:
        return None
    config = text_messages.read(file, "MonitoringConfig").prometheus_config
    path: str = config.path or _DEFAULT_PATH
    if not path.startswith("/") or not set("<>?#").isdisjoint(path):
        raise SettingsError(f"{file}: the path must start with a slash and contain none of <>?#, not {path!r}.")
    return path if config.enable else None
