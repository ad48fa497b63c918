"""The settings: names, bounds and what their flags and variables are called."""

import dataclasses
from pathlib import Path

import pytest
from PIL import Image

from service.config import settings
from service.config.settings import Settings
from service.errors import SettingsError


def test_the_defaults_are_within_their_bounds() -> None:
    assert Settings().rest_api_port == 8501
    assert Settings().host == "127.0.0.1"


def test_every_setting_says_what_it_is_for() -> None:
    assert all(len(each.metadata["help"]) > 10 for each in settings.each_setting())


def test_settings_can_not_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Settings().port = 1  # type: ignore[misc]


BOUNDED = [each for each in settings.each_setting() if each.metadata["least"] is not None]


@pytest.mark.parametrize("each", BOUNDED, ids=lambda each: each.name)
def test_a_value_below_its_bound_is_refused_by_its_flag(each: dataclasses.Field[float]) -> None:
    least = each.metadata["least"]
    Settings(**{each.name: least})
    with pytest.raises(SettingsError, match=rf"^{settings.flag(each)} must be .*{least}"):
        Settings(**{each.name: least - 1})


@pytest.mark.parametrize("each", [e for e in BOUNDED if e.metadata["most"] is not None], ids=lambda each: each.name)
def test_a_value_above_its_bound_is_refused_by_its_flag(each: dataclasses.Field[float]) -> None:
    most = each.metadata["most"]
    Settings(**{each.name: most})
    with pytest.raises(SettingsError, match=rf"^{settings.flag(each)} must be between .* and {most}, not {most + 1}"):
        Settings(**{each.name: most + 1})


@pytest.mark.parametrize("each", BOUNDED, ids=lambda each: each.name)
def test_what_is_no_number_is_refused(each: dataclasses.Field[float]) -> None:
    with pytest.raises(SettingsError):
        Settings(**{each.name: float("nan")})


@pytest.mark.parametrize(
    ("engine", "addresses"),
    [
        ("shared", ()),
        ("gpu:8500, unix:/run/s", ("gpu:8500", "unix:/run/s")),
        ("dns:engines.default.svc:8500", ("dns:engines.default.svc:8500",)),
        ("dns:a:8500,dns:b:8501,[::1]:8500", ("dns:a:8500", "dns:b:8501", "[::1]:8500")),
    ],
)
def test_engines_elsewhere_are_addresses_or_names_of_several(engine: str, addresses: tuple[str, ...]) -> None:
    assert Settings(engine=engine).engine_addresses == addresses


@pytest.mark.parametrize(
    "wrong",
    ["dns:engines", "dns::8500", "dns:///e:8500", "dns:e:0", "dns:e:x", "http://e:8500", "e", "e:8\u00b2", "a:1,"],
)
def test_what_is_no_address_is_refused_with_what_would_be_one(wrong: str) -> None:
    with pytest.raises(SettingsError, match=r"--engine takes .*HOST:PORT, dns:NAME:PORT or unix:/PATH; .* is none of"):
        Settings(engine=wrong)


def test_the_log_level_is_one_of_four() -> None:
    with pytest.raises(SettingsError, match=r"--log-level must be debug, info, warning or error, not loud"):
        Settings(log_level="loud")


def test_flags_are_tf_servings_where_it_has_them() -> None:
    flags = {each.name: settings.flag(each) for each in settings.each_setting()}
    assert flags["rest_api_port"] == "--rest_api_port"
    assert flags["store"] == "--store"
    assert flags["ready_file"] == "--ready-file"


def test_every_setting_is_a_variable_too() -> None:
    variables = {each.name: settings.variable(each) for each in settings.each_setting()}
    assert variables["rest_api_port"] == "SIGNPOST_REST_API_PORT"
    assert len(set(variables.values())) == len(variables)


def test_a_variable_that_is_no_setting_is_noticed() -> None:
    environment = {"SIGNPOST_STORE": "x", "SIGNPOST_STOER": "x", "SIGNPOST_": "", "PATH": "y", "signpost_x": "z"}
    assert settings.unknown_variables(environment) == ["SIGNPOST_", "SIGNPOST_STOER"]


def test_no_more_pixels_can_be_allowed_than_can_be_decoded() -> None:
    """Otherwise an image within the limit would be refused as beyond it."""
    (pixels,) = [each for each in settings.each_setting() if each.name == "max_image_pixels"]
    assert Image.MAX_IMAGE_PIXELS is not None
    assert pixels.metadata["most"] <= 2 * Image.MAX_IMAGE_PIXELS


def test_paths_are_paths() -> None:
    assert Settings().store == Path("model_store")
