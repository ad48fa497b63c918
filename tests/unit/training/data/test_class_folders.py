"""Which folders are taken for the classes, and when nothing is guessed."""

import itertools

import pytest

from training.data.class_folders import Level, matching, places
from training.errors import TrainingError


def found(names: list[str], level: Level | None = None, source: str = "photos") -> set[tuple[str, str]]:
    """Class folders and parts that a list of files has."""
    return {(place.folder, place.part) for place in places(names, [], source, level).files if place}


def tree(*levels: str) -> list[str]:
    """An image in each of the folders that the levels make together: "cat dog", "2020 2021"."""
    return ["/".join((*path, "1.jpg")) for path in itertools.product(*(level.split() for level in levels))]


CATS_AND_DOGS = {("cat", ""), ("dog", "")}
IN_PARTS = {("cat", "train"), ("dog", "train"), ("cat", "test"), ("dog", "test")}


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (tree("cat dog"), CATS_AND_DOGS),
        (tree("my_photos", "cat dog"), CATS_AND_DOGS),
        (["readme.txt", "LICENSE", "photos/sample.csv", "docs/a.pdf", *tree("photos", "cat dog")], CATS_AND_DOGS),
        (["preview.png", *tree("cat dog")], CATS_AND_DOGS),
        (["cat/kittens/1.jpg", "cat/old/2.jpg", "dog/puppies/3.jpg"], CATS_AND_DOGS),
        (["cat/kittens/1.jpg", "cat/2.jpg", "dog/3.jpg"], CATS_AND_DOGS),
        (["cat/1.jpg", "cat/a/1.jpg", "cat/b/1.jpg", "dog/1.jpg", "dog/a/1.jpg", "dog/b/1.jpg"], CATS_AND_DOGS),
        (["cat/2020/1.jpg", "cat/2021/2.jpg", "dog/2021/3.jpg", "dog/2022/4.jpg"], CATS_AND_DOGS),
        (tree("cat dog", "images"), CATS_AND_DOGS),
        (tree("train val", "cat dog"), IN_PARTS),
        (tree("data", "Training Validation", "cat dog"), IN_PARTS),
        (tree("pets_train pets_test", "cat dog"), IN_PARTS),
        (tree("cat dog", "train test"), IN_PARTS),
        (tree("train test", "cat dog", "images"), IN_PARTS),
        (["train/cat/young/1.jpg", "train/dog/2.jpg", "test/cat/3.jpg"], IN_PARTS - {("dog", "test")}),
        (["train/cat.0.jpg", "train/dog.1.jpg", "test/1.jpg"], {("cat", "train"), ("dog", "train")}),
        (tree("train bus car"), {("train", ""), ("bus", ""), ("car", "")}),
        (["train station/1.jpg", "train interior/2.jpg"], {("train station", ""), ("train interior", "")}),
        (tree("caf\u00e9 na\u00efve"), {("caf\u00e9", ""), ("na\u00efve", "")}),
        (["CAT/1.JPG", "DOG/2.PnG"], {("CAT", ""), ("DOG", "")}),
        (["only/1.jpg", "only/more/2.jpg"], {("only", "")}),
    ],
)
def test_the_outermost_folders_side_by_side_are_the_classes(names: list[str], expected: set[tuple[str, str]]) -> None:
    assert found(names) == expected


@pytest.mark.parametrize(
    ("names", "outer", "inner"),
    [
        (tree("cat dog", "2020 2021"), "cat dog", "2020 2021"),
        (tree("photos", "phone camera", "cat dog"), "phone camera", "cat dog"),
        (["a/x/1.jpg", "a/y/2.jpg", "b/x/3.jpg", "b/y/4.jpg", "b/z/5.jpg", "c/x/6.jpg"], "a b c", "x y z"),
        (tree("train test", "cat dog", "2020 2021"), "cat dog", "2020 2021"),
        (tree("site1 site2", "images", "ripe unripe"), "site1 site2", "ripe unripe"),
    ],
)
def test_folders_that_could_be_classes_on_two_levels_are_refused_until_one_is_said(
    names: list[str], outer: str, inner: str
) -> None:
    with pytest.raises(TrainingError, match="not clear") as refused:
        found(names)
    for folder in [*outer.split(), *inner.split()[:2], "--class-folders outer", "--class-folders inner"]:
        assert folder in str(refused.value)
    assert {folder for folder, _ in found(names, "outer")} == set(outer.split())
    assert {folder for folder, _ in found(names, "inner")} == set(inner.split())


def test_images_beside_folders_of_images_may_be_a_class_or_not() -> None:
    names = ["photos/title.png", *tree("photos", "cat dog")]
    with pytest.raises(TrainingError, match="photos, or those inside them, cat, dog"):
        found(names)
    assert found(names, "outer") == {("photos", "")}


def test_folders_beside_the_parts_are_refused_by_name() -> None:
    names = [*tree("train test", "cat dog"), "extra/1.jpg"]
    with pytest.raises(TrainingError, match=r"train, test, which are parts .* next to them extra"):
        found(names)
    assert {folder for folder, _ in found(names, "outer")} == {"train", "test", "extra"}
    assert {folder for folder, _ in found(names, "inner")} == {"cat", "dog", "extra"}


@pytest.mark.parametrize(
    ("names", "folders", "empty"),
    [
        (tree("cat dog"), ["eel"], ["eel"]),
        (tree("cat"), ["dog"], ["dog"]),
        ([*tree("cat dog"), "eel/notes.txt"], [], ["eel"]),
        (tree("photos", "cat dog"), ["photos/eel", "photos/eel/2020"], ["photos/eel"]),
        (tree("train test", "cat dog"), ["test/eel"], ["test/eel"]),
        (tree("cat dog"), ["test"], []),
        (["cat/2020/1.jpg", "dog/2.jpg"], ["cat/2021"], []),
    ],
)
def test_class_folders_without_an_image_are_told(names: list[str], folders: list[str], empty: list[str]) -> None:
    assert places(names, folders, "photos").empty == empty


def test_a_source_that_is_called_test_is_a_test_part() -> None:
    assert found(tree("cat dog"), source="a/rps-test-set.zip") == {("cat", "test"), ("dog", "test")}
    assert found(tree("train test", "cat"), source="test") == {("cat", "test")}


def test_folders_are_matched_to_the_classes_of_a_model_wherever_they_lie() -> None:
    names = [*tree("2020 2021", "cat dog"), "cat/3.jpg", "title.png", "test/dog/more/4.jpg"]
    found = matching(names, "photos", {"cat", "dog"}.__contains__)
    assert [place.folder if place else None for place in found] == ["cat", "dog", "cat", "dog", "cat", None, "dog"]
    assert found[-1] is not None
    assert found[-1].part == "test"
    with pytest.raises(TrainingError, match="two classes, cat and dog"):
        matching(["cat/dog/1.jpg"], "photos", {"cat", "dog"}.__contains__)
    (vehicle,) = matching(["train/bus/1.jpg"], "photos", {"train", "bus"}.__contains__)
    assert vehicle is not None
    assert (vehicle.folder, vehicle.part) == ("bus", "train")
