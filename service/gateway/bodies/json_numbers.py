"""Numbers as JSON shows them: no more digits than they have."""

from typing import Final

import numpy as np
import numpy.typing as npt

# TF Serving writes six digits where they are enough, else as many as tell any two float32 apart.
_FEW_DIGITS: Final = 6
_MOST_DIGITS: Final = 9
# The powers of ten that a double holds exactly; beyond them a digit could be off by one.
_EXACT_POWERS: Final = 22


def shorten(array: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """The doubles that print with few digits and still read as the same float32: 0.2, not 0.20000000298023224.

    Without a loop over the numbers: of large arrays it costs a fraction of what the shorter text saves.
    """
    exact = array.astype(np.float64)
    result = exact
    with np.errstate(all="ignore"):  # 0 has no logarithm; what overflows keeps all its digits
        exponents = np.floor(np.log10(np.abs(exact)))
        for digits in (_MOST_DIGITS, _FEW_DIGITS):
            shift = digits - 1 - exponents
            power = 10.0 ** np.abs(shift)
            # A whole number divided by, or multiplied with, an exact power of ten is rounded once: as text would be.
            rounded = np.where(shift >= 0, np.rint(exact * power) / power, np.rint(exact / power) * power)
            same = (rounded.astype(np.float32) == array) & (np.abs(shift) <= _EXACT_POWERS)
            result = np.where(same, rounded, result)
    return result
