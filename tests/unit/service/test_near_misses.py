"""Names that are nearly right, and what is said of those that are not there."""

import pytest

from service.interface import ModelSpec, State, VersionStatus
from service.near_misses import did_you_mean, near, not_found, what_there_is

MODELS = {
    "cats_vs_dogs": (VersionStatus(3, State.AVAILABLE), VersionStatus(2, State.END, "broken")),
    "sign_language": (),
    "Half-Plus.Two": (VersionStatus(1, State.AVAILABLE),),
}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("cats_vs_dog", ["cats_vs_dogs"]),
        ("cat_vs_dogs", ["cats_vs_dogs"]),
        ("Cats-vs-Dogs", ["cats_vs_dogs"]),
        ("sign-langauge", ["sign_language"]),
        ("half_plus_two", ["Half-Plus.Two"]),
        ("mnist", []),
        ("", []),
        ("cats_vs_dogs" * 50, []),
    ],
)
def test_names_that_look_alike_are_near(name: str, expected: list[str]) -> None:
    assert near(name, MODELS) == expected


def test_the_likest_comes_first_and_few_are_told() -> None:
    known = [f"model_{number}" for number in range(100)]
    assert near("model_77x", known)[0] == "model_77"
    assert did_you_mean("model_77x", known).count(" or ") <= 2


def test_of_very_many_names_few_are_compared() -> None:
    known = (f"model_{number}" for number in range(100_000))
    near("model_x", known)
    assert next(known) == "model_300"


def test_a_model_that_is_not_there_is_told_as_by_tf_serving_first() -> None:
    assert not_found(ModelSpec("cats_vs_dog", 3), MODELS) == (
        "Servable not found for request: Specific(cats_vs_dog, 3); did you mean cats_vs_dogs? "
        "GET /v1/models lists the models."
    )
    assert not_found(ModelSpec("mnist"), MODELS) == (
        "Servable not found for request: Latest(mnist); GET /v1/models lists the models."
    )


def test_a_version_that_is_not_there_is_told_with_those_that_are() -> None:
    assert what_there_is("cats_vs_dogs", MODELS) == "it has 2, 3."
    assert what_there_is("sign_language", MODELS) == "it has none yet."
    assert what_there_is("half_plus_tow", MODELS) == "did you mean Half-Plus.Two? GET /v1/models lists what there is."
