"""Another configuration while serving, as a client asks for it (TF Serving's HandleReloadConfigRequest)."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from service import model_config
from service.config_source import ConfigSource
from service.engine.interface import State
from service.engine.local import LocalEngine
from service.errors import DeadlineExceeded, NotFound, Unavailable

# Takes a ModelServerConfig message and the seconds that there are; returns when it is in force.
Reload = Callable[[Any, float], None]


def make_reload(source: ConfigSource, engine: LocalEngine, store: Path) -> Reload:
    """Make the function that puts another configuration in place.

    It is in force when the function returns: every model has the versions that it should have. The other processes of
    the service follow within `--file_system_poll_wait_seconds`.

    Args:
        source: what the engine reads; all processes of the service share its override.
        engine: the engine of this process.
        store: what relative base paths are relative to.

    Raises (the function that is made):
        SettingsError: the configuration has an error; nothing has changed.
        NotFound: the folder of a model is missing; nothing has changed.
        Unavailable: a model has no version that could be loaded; the others serve.
        DeadlineExceeded: it is in place, but not all is loaded yet.
    """

    def reload(message: Any, timeout_s: float) -> None:
        configs = model_config.read_message(message, store.resolve())
        for config in configs:
            if not config.base_path.is_dir():
                raise NotFound(f"The model {config.name} has no folder {config.base_path}; nothing was changed.")
        source.replace(configs)
        if not engine.settle(timeout_s):
            raise DeadlineExceeded(f"The configuration is in place, but not all is loaded after {timeout_s:.0f} s.")
        models = engine.status().models
        for config in configs:
            versions = models.get(config.name, ())
            if not any(version.state is State.AVAILABLE for version in versions):
                why = next((version.error for version in versions if version.error), "its folder holds no version")
                raise Unavailable(f"Model {config.name} could not be loaded: {why}")

    return reload
