"""The errors of training; like all of Signpost's, one sentence for people."""

import errno
import os

from service.errors import SignpostError


class TrainingError(SignpostError):
    """Training can't start or go on: bad data, a bad option, or numbers that went wrong."""


class Interrupted(TrainingError):
    """The user stopped the training; the message says what was kept and how to go on."""


def os_error(message: str) -> OSError:
    """TensorFlow's error about a file as Python has it; its message holds the system's reason among other things."""
    for number in sorted(errno.errorcode):
        if os.strerror(number) in message:
            return OSError(number, os.strerror(number))
    return OSError(errno.EIO, message.splitlines()[0])
