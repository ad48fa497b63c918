"""Known archives are named with their licences."""

from pathlib import Path

from training.data.archives.licences import licences


def test_known_sources_have_their_licence_and_others_none() -> None:
    paths = [
        Path("data/rps.zip"),
        Path("mnist"),
        Path("holiday.zip"),
        Path("mobilenet_0.75_imagenet_no_top.weights.h5"),
    ]
    assert set(licences(paths)) == {"rps.zip", "mnist", "mobilenet_0.75_imagenet_no_top.weights.h5"}
