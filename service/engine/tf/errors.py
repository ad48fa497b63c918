"""TensorFlow's errors in ours."""

import re
from typing import Any, Final

from service.errors import DeviceOutOfMemory, InvalidRequest, ModelFailed, SignpostError, without_paths

# What TensorFlow puts before a message about a node of a function.
_WHERE: Final = re.compile(r"\{\{function_node [^}]*\}\} ?(?!\{\{node)")


def translated(tf: Any, error: Exception) -> SignpostError:
    """TensorFlow's error in ours: what the input causes is the client's, what the device lacks is a wait."""
    if isinstance(error, tf.errors.InvalidArgumentError | tf.errors.OutOfRangeError | ValueError | TypeError):
        return InvalidRequest(f"The model does not accept this input: {without_paths(first_line(error))}")
    if isinstance(error, tf.errors.ResourceExhaustedError):
        return DeviceOutOfMemory("The device is out of memory; send fewer instances at once, or try again.")
    return ModelFailed(f"The model failed: {without_paths(first_line(error))}")


def first_line(error: Exception) -> str:
    """The one line of an error that says what is wrong."""
    lines = [line.strip() for line in _WHERE.sub("", str(error)).splitlines() if line.strip()]
    if lines and lines[0] == "Graph execution error:":
        # TensorFlow tells first where in the graph it happened, then what, then once more where.
        where = next((n for n, line in enumerate(lines) if line.startswith("[[{{node")), len(lines))
        lines = lines[where - 1 :]
    return lines[0] if lines else type(error).__name__
