"""A request's JSON, parsed within limits."""

import json
import re
from typing import Any, Final

import numpy as np

from service.errors import InvalidRequest

_BUT_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))
# No parser takes the depth as an argument: that of json is the interpreter's (994 in Python 3.11, 1,497 in 3.12, 9,998
# in 3.13, of which the last two can not be set), that of orjson 1,024, and it takes no NaN. So it is counted here.
# A string, or the rest of the body where it does not end: so nothing is read twice.
_STRING: Final = re.compile(rb'"(?:[^"\\]|\\.)*+"?', re.DOTALL)
# Brackets that are looked at in one go, to bound the memory.
_STEP: Final = 1 << 18


def parse(body: bytes, max_depth: int) -> Any:
    """Parse JSON; NaN, Infinity and -Infinity are numbers, as in TF Serving.

    Args:
        body: the text.
        max_depth: lists and objects within each other at most.

    Raises:
        InvalidRequest: it is none, or deeper.
    """
    if _is_deep(body, max_depth):
        raise _too_deep(max_depth)
    try:
        return json.loads(body)
    except RecursionError as error:  # brackets in strings can hide depth
        raise _too_deep(max_depth) from error
    except ValueError as error:
        if "integer string conversion" in str(error):  # Python's advice is for its programmers
            raise InvalidRequest("The body's JSON has an integer of more than 4,300 digits.") from error
        raise InvalidRequest(f"The body is not JSON: {error}.") from error


def _is_deep(body: bytes, max_depth: int) -> bool:
    """Whether JSON is nested deeper, told without parsing it."""
    # The most common bodies have few brackets, which is seen at once.
    if _count(body, b"[", max_depth) + _count(body, b"{", max_depth) <= max_depth:
        return False
    return _rises(body, max_depth) and (b'"' not in body or _rises(_STRING.sub(b"", body), max_depth))


def _count(body: bytes, bracket: bytes, most: int) -> int:
    """How often a bracket occurs, counted no further than `most` + 1."""
    count, at = 0, body.find(bracket)
    while at >= 0 and count <= most:
        count, at = count + 1, body.find(bracket, at + 1)
    return count


def _rises(body: bytes, most: int) -> bool:
    """Whether there are ever more than `most` brackets open, those in strings too."""
    brackets = np.frombuffer(body.translate(None, _BUT_BRACKETS), dtype=np.uint8)
    opened = 0
    for start in range(0, len(brackets), _STEP):
        # In ASCII an opening bracket comes two before its closing one: bit 1 tells them apart.
        steps = np.where(brackets[start : start + _STEP] & 2, 1, -1).cumsum()
        if opened + int(steps.max()) > most:
            return True
        opened += int(steps[-1])
    return False


def _too_deep(max_depth: int) -> InvalidRequest:
    return InvalidRequest(f"The body's JSON nests more than {max_depth} lists and objects.")
