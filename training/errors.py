"""The errors of training; like all of Signpost's, one sentence for people."""

from service.errors import SignpostError


class TrainingError(SignpostError):
    """Training can't start or go on: bad data, a bad option, or numbers that went wrong."""


class Interrupted(TrainingError):
    """The user stopped the training; the message says what was kept and how to go on."""
