"""Which objects are a version."""

import pytest

from service.objects.bucket import Object
from service.objects.listing import model, models, why_not_whole
from tests.buckets import WHOLE

ONE = Object(1, "a")


def objects(*names: str) -> dict[str, Object]:
    return dict.fromkeys(names, ONE)


VERSION = tuple(WHOLE)


def below(*prefixes: str) -> dict[str, Object]:
    return objects(*(f"{prefix}/{name}" for prefix in prefixes for name in VERSION))


def test_models_and_versions_are_found_whatever_else_lies_there() -> None:
    found = models(
        {**below("a/1", "a/00000012", "b/3", ".hidden/1"), **objects("models.config", "a/README", "c/d.txt")}
    )
    assert list(found) == ["a", "b"]
    assert {number: version.folder for number, version in found["a"].versions.items()} == {1: "1", 12: "00000012"}
    assert set(found["b"].versions[3].files) == set(VERSION)


@pytest.mark.parametrize(
    ("files", "says"),
    [
        (("saved_model.pb",), ""),
        (("saved_model.pbtxt",), ""),
        (VERSION, ""),
        (("variables/variables.index",), "has no saved_model.pb"),
        ((*VERSION, ".publishing"), "still being published"),
        (("saved_model.pb", "variables/variables.index"), "lacks its variables' data"),
        (("saved_model.pb", "variables/variables.data-00000-of-00001"), "lacks part of its variables"),
        (
            ("saved_model.pb", "variables/variables.index", "variables/variables.data-00000-of-00002"),
            "lacks part of its variables",
        ),
        ((*VERSION, "a/../../b"), "can't be a file name"),
        ((*VERSION, "saved_model.pb/x"), "can't be a file name"),
        ((*VERSION, "x" * 300), "can't be a file name"),
        ((*VERSION, ".objects.json"), "can't be a file name"),
    ],
)
def test_a_version_is_whole_or_it_is_told_what_it_lacks(files: tuple[str, ...], says: str) -> None:
    assert says in why_not_whole(objects(*files))
    assert bool(why_not_whole(objects(*files))) == bool(says)


def test_two_folders_of_one_number_are_one_version() -> None:
    found = model(below("7", "007"))
    assert found.versions[7].folder == "7"
    assert "7 is also version 7" in found.passed_over["007"]


def test_numbers_beyond_what_grpc_can_name_are_passed_over() -> None:
    assert "is skipped" in model(below(str(2**63))).passed_over[str(2**63)]


def test_a_saved_model_itself_is_version_1() -> None:
    found = model(objects(*VERSION))
    assert found.versions[1].folder == ""
    assert set(found.versions[1].files) == set(VERSION)
    assert list(model({**objects(*VERSION), **below("4")}).versions) == [4]
