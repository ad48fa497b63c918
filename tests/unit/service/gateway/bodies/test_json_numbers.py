"""Numbers as JSON shows them."""

import json

import numpy as np

from service.gateway.bodies.json_numbers import shorten


def test_numbers_are_written_with_few_digits() -> None:
    values = [0.2, 1 / 3, 2.5, 1e22, 5e-7, 0.0, -0.0, -123456.0]
    assert shorten(np.array(values, np.float32)).tolist() == [
        0.2, 0.333333343, 2.5, 1e22, 5e-7, 0.0, -0.0, -123456.0,
    ]  # fmt: skip


def test_what_is_no_number_is_written_as_javascript_does() -> None:
    values = np.array([np.nan, np.inf, -np.inf], np.float32)
    assert json.dumps(shorten(values).tolist()) == "[NaN, Infinity, -Infinity]"


def test_every_number_reads_as_itself() -> None:
    bits = np.random.default_rng(0).integers(0, 2**32, 200_000, dtype=np.uint64).astype(np.uint32)
    values = bits.view(np.float32)
    values = np.concatenate([values[np.isfinite(values)], np.finfo(np.float32).max.reshape(1), np.float32([1e-45])])
    np.testing.assert_array_equal(shorten(values).astype(np.float32), values)


def test_numbers_of_a_usual_size_read_as_their_printed_text() -> None:
    values = np.random.default_rng(0).random(10_000, dtype=np.float32)
    few = [float(f"{value:.6g}") for value in values.tolist()]
    expected = [
        short if np.float32(short) == value else float(f"{value:.9g}")
        for short, value in zip(few, values.tolist(), strict=True)
    ]
    assert shorten(values).tolist() == expected
