"""Loading and unloading models by name: what a client may ask, and who does it."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from service.errors import InvalidRequest, Unsupported


class Repository(Protocol):
    """The models that there are, of which some are served; see `service.parts.repository`."""

    def load(self, name: str, timeout_s: float) -> None:
        """Serve a model from now on; it has the versions that it should have when this returns.

        Raises:
            NotFound: there is no such model.
            Unavailable: no version of it could be loaded.
            DeadlineExceeded: it is not done yet; it goes on.
        """
        ...

    def unload(self, name: str, timeout_s: float) -> None:
        """Serve a model no longer; it has gone when this returns.

        Raises:
            NotFound: there is no such model.
            DeadlineExceeded: it is not done yet; it goes on.
        """
        ...

    def unloaded(self) -> Sequence[str]:
        """The models that could be loaded."""
        ...


def of_this_service(repository: Repository | None) -> Repository:
    """What changes the models of this service.

    Raises:
        Unsupported: the models are those of engines elsewhere.
    """
    if repository is None:
        raise Unsupported("The models belong to other engines; load and unload them there.")
    return repository


def check(parameters: Mapping[str, Any], name: str = "") -> None:
    """Make sure that a load or an unload asks for nothing but that.

    Args:
        parameters: as the client sent them.
        name: of a repository, where the client names one.

    Raises:
        InvalidRequest: it brings a configuration or files, names a repository, or wants what depends on the model to go
            too.
    """
    if name:
        raise InvalidRequest(f"There is one repository here, which has no name; leave out {name!r}.")
    for parameter, value in parameters.items():
        if parameter == "config" or parameter.startswith("file:"):
            raise InvalidRequest(
                f"The parameter {parameter} is not supported: models come from the store alone, and its "
                "configuration says how they are served."
            )
        if parameter == "unload_dependents" and value is not False:
            raise InvalidRequest("The parameter unload_dependents must be false; no model here depends on another.")
