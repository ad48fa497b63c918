"""Weights to begin with: a version of a model in the store."""

from pathlib import Path

from service import store
from training.errors import TrainingError


def weights_version(path: Path, option: str = "--weights") -> Path:
    """The folder of the version that --weights, or another option, means: the one named, or the latest of a model.

    Raises:
        TrainingError: there is none.
    """
    if (path / store.SAVED_MODEL).is_file():
        return path
    folders = store.versions(path) if path.is_dir() else {}
    if not folders:
        raise TrainingError(f"There is no version at {path}; {option} takes a model's folder in the store.")
    return [*folders.values()][-1]
