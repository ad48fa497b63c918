"""Which signatures are shown to answer each row from its own input alone."""

from collections.abc import Callable, Mapping

import ml_dtypes
import numpy as np
import pytest

from service.engine.joining.row_test import differ, rounding, why_not_joined
from service.errors import InvalidRequest
from service.interface import Array, Signature
from tests.fakes import signature, spec

Function = Callable[[Array], Array]
ONE = signature([spec("x", "DT_FLOAT", -1, 2)], [spec("y", "DT_FLOAT", -1, 2)])
INTEGERS = signature([spec("x", "DT_INT32", -1)], [spec("y", "DT_INT32", -1)])
STRINGS = signature([spec("x", "DT_STRING", -1)], [spec("y", "DT_INT32", -1)])


def reason(
    function: Function,
    wanted: Signature = ONE,
    real: tuple[Array, ...] = (),
    tolerance: float = 1e-4,
    most_rows: int = 32,
) -> str:
    def run(inputs: Mapping[str, Array], outputs: tuple[str, ...]) -> Mapping[str, Array]:
        assert outputs == ()
        return {"y": function(inputs["x"])}

    return why_not_joined(run, wanted, [{"x": array} for array in real], tolerance, most_rows)


def noisy(x: Array) -> Array:
    """As rounding is: another for each size of batch, here more than a single number would have."""
    return x * 2 * np.float32(1 + len(x) * 2e-6)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x * 2,
        lambda x: x.sum(axis=1),
        lambda x: x[:, None, :] * np.ones((1, 5, 1), np.float32),
        noisy,
        lambda x: np.log(x),  # not a number for some
        lambda x: np.argsort(x, axis=1),
        lambda x: x.astype(ml_dtypes.bfloat16),
        lambda x: x > 0,
        lambda x: np.where(x > 0, b"yes", b"no").astype(object),
        lambda x: x * 1j,
        lambda x: x - x + np.random.default_rng(len(x)).normal(scale=1e-8, size=x.shape),  # nothing, but for rounding
    ],
)
@pytest.mark.filterwarnings("ignore:(invalid value|divide by zero)")
def test_rows_that_are_independent_pass(function: Function) -> None:
    assert reason(function) == ""


DEPENDS = "a row of its output 'y' depends on the other rows of the batch"


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (lambda x: x - x.mean(axis=0), DEPENDS),
        (lambda x: x - x.mean(axis=0) if len(x) > 3 else x, DEPENDS),
        (lambda x: x - x.mean(axis=0) if len(x) == 32 else x, DEPENDS),
        (lambda x: np.concatenate([1e6 * x, x - x.mean(axis=0)], axis=1), DEPENDS),
        (lambda x: np.where(x >= np.sort(x[:, :1], axis=0)[-3:][0], x, 0), DEPENDS),
        (lambda x: np.where(np.abs(x - x.mean()) > 2 * x.std(), 0, x), DEPENDS),
        (lambda x: np.array([float((x == row).all(axis=1).sum()) for row in x]), DEPENDS),
        (lambda x: x + 0.01 * x.mean(), DEPENDS),
        (lambda x: x + np.float32(1e-4) * x.mean(), DEPENDS),
        (lambda x: np.exp(x - x.max()) / np.exp(x - x.max()).sum(), DEPENDS),
        (lambda x: x[::-1], DEPENDS),
        (lambda x: np.sort(x, axis=0), DEPENDS),
        (lambda x: x.cumsum(axis=0), DEPENDS),
        (lambda x: x * len(x), DEPENDS),
        (lambda x: np.arange(len(x)), DEPENDS),
        (lambda x: np.random.default_rng().random(x.shape), DEPENDS),
        (lambda x: x.mean(), "its output 'y' has a single value for 3 rows of input"),
        (lambda x: x[:1], "its output 'y' has 1 row for 3 rows of input"),
        (lambda x: x.reshape(-1), "its output 'y' has 6 rows for 3 rows of input"),
        (lambda x: x[x[:, 0] > 0], "row"),
        (lambda x: x.T, "rows"),
        (lambda x: np.ones((len(x), 1 + int(abs(x).max()))), "the shape of a row of its output 'y' depends on"),
    ],
)
@pytest.mark.filterwarnings("ignore:overflow")
def test_rows_that_depend_on_each_other_are_found(function: Function, says: str) -> None:
    assert says in reason(function)


def test_repeated_rows_are_found() -> None:
    assert "for 3 rows of input" in reason(lambda x: np.repeat(x, x), INTEGERS)


@pytest.mark.filterwarnings("ignore:overflow")
def test_a_request_that_holds_no_number_must_not_change_the_others() -> None:
    def poisoned(x: Array) -> Array:
        return np.full_like(x, -1) if np.isnan(x).any() else x * 2

    assert reason(poisoned) == DEPENDS
    assert reason(lambda x: np.full_like(x, -1) if np.isinf(x).any() else x * 2) == DEPENDS
    assert reason(lambda x: np.nan_to_num(x) * 2) == ""

    def strict(x: Array) -> Array:
        if not np.isfinite(x).all():
            raise InvalidRequest("numbers only")
        return x * 2

    assert reason(strict) == ""


@pytest.mark.parametrize("most_rows", [1, 2, 3, 4, 100])
def test_batches_of_any_size_are_tested(most_rows: int) -> None:
    seen: set[int] = set()

    def double(x: Array) -> Array:
        seen.add(len(x))
        return x * 2

    assert reason(double, most_rows=most_rows) == ""
    assert max(seen) == max(2, most_rows)  # a request of two rows is cut where batches have one
    assert reason(lambda x: x - x.mean(axis=0), most_rows=most_rows) == DEPENDS


def test_whole_numbers_are_drawn_small_first_as_they_may_be_places_in_a_table() -> None:
    table = np.array([5, 6])

    def pick(x: Array) -> Array:
        if (x >= len(table)).any():
            raise InvalidRequest("not in the table")
        return table[x]

    assert reason(pick, INTEGERS) == ""

    def refuse(_: Array) -> Array:
        raise InvalidRequest("Nothing will do.")

    assert reason(refuse, INTEGERS) == "its row test did not run: Nothing will do."


def test_a_test_that_takes_too_long_is_given_up() -> None:
    now = [0.0]

    def slow(inputs: Mapping[str, Array], _outputs: tuple[str, ...]) -> Mapping[str, Array]:
        now[0] += 8.0
        return {"y": inputs["x"]}

    assert why_not_joined(slow, ONE, [], 1e-4, 32, lambda: now[0]) == "its row test took more than 20 s"
    assert now[0] == 24.0


def test_strings_are_joined_only_where_two_real_rows_show_that_they_may_be() -> None:
    def length(x: Array) -> Array:
        return np.array([len(each) for each in x.tolist()])

    def most(x: Array) -> Array:
        return np.full(len(x), max(len(each) for each in x.tolist()))

    one, two = np.array([b"a"], object), np.array([b"b", b"ccc"], object)
    assert "it takes strings, and the version's warm-up file lacks two rows" in reason(length, STRINGS)
    assert "lacks two rows" in reason(most, STRINGS, (one, one))
    assert reason(length, STRINGS, (one, two)) == ""
    assert reason(length, STRINGS, (one, np.array([b"zz"], object))) == ""
    assert reason(most, STRINGS, (one, two)) == DEPENDS


def test_dimensions_of_any_size_want_real_rows_of_one_shape() -> None:
    open_shape = signature([spec("x", "DT_FLOAT", -1, -1)], [spec("y", "DT_FLOAT", -1)])
    a, b = np.ones((1, 3), np.float32), np.full((1, 3), 2, np.float32)
    assert "several dimensions of any size" in reason(lambda x: x.sum(axis=1), open_shape)
    assert "several dimensions of any size" in reason(lambda x: x.sum(axis=1), open_shape, (a, b[:, :2]))
    assert reason(lambda x: x.sum(axis=1), open_shape, (a, b)) == ""
    assert reason(lambda x: x.sum(axis=1) + len(x), open_shape, (a, b)) == DEPENDS


def test_outputs_whose_rows_may_have_any_shape_are_not_joined() -> None:
    """They may be padded to the longest of a batch, which real rows of one length do not show."""
    ragged = signature([spec("x", "DT_STRING", -1)], [spec("y", "DT_INT32", -1, -1)])
    rows = np.array([b"a b", b"c d"], object)
    says = reason(lambda x: np.array([each.split() for each in x.tolist()]), ragged, (rows,))
    assert says == "a row of an output may have any shape, which may follow from the other rows of the batch"


def test_real_rows_that_do_not_fit_the_declared_shape_are_left_out() -> None:
    assert reason(lambda x: x * 2, ONE, (np.ones((3,), np.float32), np.ones((0, 2), np.float32))) == ""


def test_rounding_is_measured_on_the_whole_batch_and_nothing_else_is_forgiven() -> None:
    batch = np.array([1000.0, 1e-5])
    bound = rounding(batch, 1e-4)
    assert not differ(batch[1:], batch[1:] + 1e-3, bound)
    assert differ(batch[:1], batch[:1] + 1, bound)
    columns = np.array([[1e6, 1.0], [-1e6, 0.5]])
    assert rounding(columns, 1e-5).tolist() == [[10.0, 0.01]]  # each in its place, but not next to nothing
    any_bound = np.ones(1)
    assert differ(np.array([1]), np.array([2]), rounding(np.array([10**9]), 1e-4))
    assert differ(np.zeros(2), np.zeros(3), any_bound)
    assert differ(np.zeros(2), np.zeros(2, np.float32), any_bound)
    assert not differ(np.array([np.nan, np.inf]), np.array([np.nan, np.inf]), any_bound)
    assert differ(np.array([np.nan]), np.array([0.0]), any_bound)
