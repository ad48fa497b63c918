"""Triton's classification extension: the highest values of an output as `value:index` or `value:index:label`."""

from collections.abc import Sequence

import numpy as np

from service.interface import Array
from service.oip.tensors import objects


def classify(array: Array, count: int, labels: Sequence[str] = (), by_row: bool = True) -> Array:
    """Classify an output.

    Args:
        array: numbers; each row along the first dimension is one thing to classify.
        count: how many of the highest to tell, at most.
        labels: of the values of a row, in their order; none where there are not as many.
        by_row: False takes the whole array for one thing.

    Returns:
        Strings, an object array (N, min(count, K)), without its first dimension where `by_row` is false. Of equal
        values the one with the lower index comes first; what is not a number comes last.
    """
    apart = by_row and array.ndim > 0
    width = int(np.prod(array.shape[1:])) if apart else array.size
    numbers = array if array.dtype.kind in "biu" else array.astype(np.float64)
    rows = numbers.reshape(len(array) if apart else 1, width)
    ranked = rows if array.dtype.kind in "biu" else np.where(np.isnan(rows), -np.inf, rows)
    # Backwards twice, so that of equal values the first stays the first.
    order = width - 1 - np.argsort(ranked[:, ::-1], axis=1, kind="stable")[:, ::-1][:, :count]  # (N, k)
    names = labels if len(labels) == width else ()
    told = [
        _text(value, index, names)
        for row, indices in zip(rows, order, strict=True)
        for value, index in zip(row[indices].tolist(), indices.tolist(), strict=True)
    ]
    return objects(told, order.shape if apart else order.shape[1:])


def _text(value: float, index: int, labels: Sequence[str]) -> bytes:
    shown = f"{value:f}" if isinstance(value, float) else str(int(value))  # as C++ writes them
    return f"{shown}:{index}{f':{labels[index]}' if labels else ''}".encode()
