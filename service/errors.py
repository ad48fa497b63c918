"""The errors of Signpost, free of any transport.

Each message is one or two sentences for people: what is wrong, with what, and what would be right.
The gateway maps the classes to HTTP statuses (`gateway/middleware/http_errors.py`), the gRPC server to its codes, and
the command line prints the message and exits with 2.
"""

import re
from typing import Final

# Letters of the longest text that is shown: what a client sent may stand in it, and be of any length.
_LONGEST: Final = 1000
# Those that end a line, move the cursor, or turn the direction of writing.
_CONTROLS: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]+")
_PATH: Final = re.compile(r"""(?<![\w./:{])/(?:[^\s/:'"(){}\[\],;]+/)+[^\s:'"(){}\[\],;]*""")


class SignpostError(Exception):
    """Base of every error that Signpost raises on purpose; its text is safe to show to a client."""


class SettingsError(SignpostError):
    """A flag, environment variable or configuration file that can't be used."""


class StoreError(SignpostError):
    """The store, or a folder in it, is missing or can't be read or written."""


class InvalidRequest(SignpostError):
    """The client's input is malformed or does not fit the signature."""


class InvalidImage(InvalidRequest):
    """Bytes that are not an image which Signpost can decode within its limits."""


class MissingDecoder(InvalidImage):
    """An image of a format that Signpost takes, but whose decoder is not installed here."""


class TooLarge(InvalidRequest):
    """The client's input goes beyond a limit of size or number."""


class TooSlow(InvalidRequest):
    """The client takes longer to send its request than it may."""


class UnsupportedMedia(InvalidRequest):
    """A content type that the route does not take."""


class UnfitSignature(InvalidRequest):
    """The signature exists, but is not of the form that the call needs."""


class NotFound(SignpostError):
    """No such model, version, label or signature."""


class Unauthenticated(SignpostError):
    """The client has not said who it is: no API key, or one that is not known.

    Args:
        message: what is missing.
        was_sent: whether it sent a key.
    """

    def __init__(self, message: str, was_sent: bool = False) -> None:
        """Keep the difference beside the message."""
        super().__init__(message)
        self.was_sent = was_sent


class Forbidden(SignpostError):
    """The client is known but may not do this, or nobody may."""


class Unavailable(SignpostError):
    """The model is known but can't answer now: still loading, failed to load, or shutting down."""


class DeviceOutOfMemory(Unavailable):
    """The device has not enough memory for this batch now."""


class Overloaded(SignpostError):
    """The queue of the servable is full.

    Args:
        message: what is full.
        retry_after_s: seconds after which the queue is estimated to have room.
    """

    def __init__(self, message: str, retry_after_s: float) -> None:
        """Keep the estimate beside the message."""
        super().__init__(message)
        self.retry_after_s = retry_after_s


class DeadlineExceeded(SignpostError):
    """The answer did not come within the request's deadline."""


class Abandoned(SignpostError):
    """The caller left before its request ran."""


class Unsupported(SignpostError):
    """What is asked for exists, but not in this service."""


class ModelFailed(SignpostError):
    """The model itself failed on input that fits its signature."""


class LoadFailed(SignpostError):
    """A version in the store could not be made a servable."""


def one_line(text: str) -> str:
    """A text as it may be shown and logged: one line of bounded length, without control characters."""
    text = _CONTROLS.sub(" ", text)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}\u2026"


def without_paths(text: str) -> str:
    """A text of TensorFlow's or another program's without the absolute paths in it: they are nobody's business."""
    return _PATH.sub("\u2026", text)
