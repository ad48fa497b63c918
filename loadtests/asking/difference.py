"""How an answer differs from the right one: in names, shape, element type or values."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from service.interface import Array

# Floats of 16 bits may differ by their own rounding.
_ROUNDING_OF: Final = {"float16": 2e-3, "bfloat16": 1.6e-2}
# What terms of about 1 round to in 32 bits; a sum in which they cancel out is small, and its rounding is not.
_ROUNDING_OF_A_SUM: Final = float(np.finfo(np.float32).eps)


def difference(
    right: Mapping[str, Array],
    found: Mapping[str, Any],
    within: Mapping[str, tuple[float, float]] | None = None,
    rounding: float = 1e-5,
) -> str:
    """What is wrong with an answer, or an empty string.

    Args:
        right: the right outputs.
        found: arrays (over gRPC) or nested lists (over HTTP, where the element types are JSON's).
        within: outputs that only need to lie between two values.
        rounding: the share by which numbers of 32 bits and more may differ.
    """
    if right.keys() != found.keys():
        return f"outputs {sorted(found)}, not {sorted(right)}"
    for name, array in right.items():
        if wrong := _wrong(array, found[name], (within or {}).get(name), rounding):
            return f"{name}: {wrong}"
    return ""


def _wrong(right: Array, found: Any, bounds: tuple[float, float] | None, rounding: float) -> str:
    if isinstance(found, np.ndarray):
        if found.dtype != right.dtype:
            return f"{found.dtype}, not {right.dtype}"
        values: Array = found
        shape = right.shape
    else:
        shape = np.shape(right.tolist())  # JSON does not tell what stands behind a size of 0
        kind = "U" if right.dtype.kind == "O" else right.dtype.kind
        try:
            values = np.array(found)
        except ValueError:
            return f"{found} is ragged"
        if values.size and values.dtype.kind not in _KINDS.get(kind, "f"):
            return f"{found} is not of JSON's type for {right.dtype}"
    if values.shape != shape:
        return f"shape {list(values.shape)}, not {list(shape)}"
    if bounds is not None:
        least, most = bounds
        inside = bool(((values >= least) & (values <= most)).all())
        return "" if inside else f"{values.tolist()} is not within {bounds}"
    return "" if _equal(right, values, rounding) else f"{_short(values)}, not {_short(right)}"


_KINDS: Final = {"i": "iu", "u": "iu", "b": "b", "U": "U"}


def _equal(right: Array, found: Array, rounding: float) -> bool:
    if right.size == 0:
        return True
    if right.dtype.kind == "O":
        texts = found.ravel().tolist()
        return [_text(each) for each in right.ravel().tolist()] == [_text(each) for each in texts]
    if right.dtype.kind in "iub":
        return bool((right.reshape(found.shape) == found).all())
    exact = right.astype(np.complex128 if right.dtype.kind == "c" else np.float64)
    rounding = max(rounding, _ROUNDING_OF.get(str(right.dtype), 0.0))
    most = float(np.abs(exact).max(initial=0.0, where=np.isfinite(exact)))
    atol = max(rounding * min(1.0, most), _ROUNDING_OF_A_SUM)
    return np.allclose(found.astype(exact.dtype), exact, rtol=rounding, atol=atol, equal_nan=True)


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _short(values: Array) -> str:
    text = str(values.tolist())
    return text if len(text) < 200 else f"{text[:200]}…"
