"""What may run elsewhere than in TensorFlow, by what a version's file says."""

import pytest

from service.engine.runtimes.part import numbers, why_not, why_not_unasked
from service.interface import Signature
from tests.fakes import classifier_signature, signature, spec

FLOAT = spec("y", "DT_FLOAT", -1, 2)


@pytest.mark.parametrize(
    ("about", "operations", "says"),
    [
        (classifier_signature(), {"Conv2D", "StatefulPartitionedCall"}, ""),
        (signature([spec("x", "DT_INT32", -1)], [FLOAT]), {"GatherV2"}, ""),
        (signature([spec("text", "DT_STRING", -1)], [FLOAT]), set(), "its input 'text' is DT_STRING"),
        (signature([spec("x", "DT_DOUBLE", -1)], [FLOAT]), set(), "its input 'x' is DT_DOUBLE"),
        (signature([spec("k", "DT_FLOAT")], [FLOAT]), set(), "its input 'k' has no dimension that is that of a batch"),
        (
            signature([spec("x", "DT_FLOAT", -1)], [spec("name", "DT_STRING", -1), spec("n", "DT_INT64", -1)]),
            set(),
            "none of its outputs is a number of 32 bits or fewer",
        ),
        (classifier_signature(), {"Mul", "While"}, "which of its operations run depends on the input (While)"),
    ],
)
def test_strings_wide_numbers_scalars_and_loops_stay_with_tensorflow(
    about: Signature, operations: set[str], says: str
) -> None:
    assert why_not({"serving_default": about}, {"serving_default": operations}) == says


def test_a_version_without_a_default_signature_stays_there_too() -> None:
    assert why_not({"other": classifier_signature()}, {}) == "it has no signature 'serving_default'"


def test_whole_numbers_may_be_places_in_a_table_which_nobody_else_checks() -> None:
    assert why_not_unasked(classifier_signature()) == ""
    assert why_not_unasked(signature([spec("x", "DT_FLOAT", -1)], [FLOAT])) == ""
    why = why_not_unasked(signature([spec("word", "DT_INT32", -1)], [FLOAT]))
    assert why == "its input 'word' (DT_INT32) may be places in a table, which only TensorFlow checks"


def test_only_numbers_are_computed() -> None:
    assert numbers(classifier_signature(tells=True)) == ("scores", "in_domain")
