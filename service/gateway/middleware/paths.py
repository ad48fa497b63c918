"""Paths in any case: TF Serving takes `/V1/Models/m:Predict` too."""

import re
from collections.abc import Callable, Iterable
from typing import Any, Final

Wsgi = Callable[[dict[str, Any], Any], Iterable[bytes]]

# The names of models and labels are not touched: there case counts.
_WORDS: Final = re.compile(
    r"(/v1/models)(?:(/[^/:]+)(?:(/versions)(/\d+)|(/labels)(/[^/:]+))?((?::|/)[a-z]+)?)?", re.IGNORECASE
)
_NAMES: Final = (2, 4, 6)


def in_lower_case(app: Wsgi) -> Wsgi:
    """Wrap a WSGI application so that the words of a path reach it in lower case."""

    def wrapped(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if (found := _WORDS.fullmatch(path)) is not None:
            parts = enumerate(found.groups(""), start=1)
            environ["PATH_INFO"] = "".join(part if number in _NAMES else part.lower() for number, part in parts)
        return app(environ, start_response)

    return wrapped
