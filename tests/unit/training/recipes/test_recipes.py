"""Every recipe can be had, without waiting for Keras."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from training import recipes
from training.commands import train
from training.data.request import Request
from training.errors import TrainingError
from training.recipes import rock_paper_scissors, sign_language_photos


@pytest.mark.parametrize("name", recipes.NAMES)
def test_every_recipe_says_its_command_and_choices(name: str) -> None:
    recipe = recipes.get(name)
    text = Path(recipes.__path__[0], f"{name}.py").read_text("utf-8")
    assert f"signpost train {name}" in text.split('"""')[1]
    assert json.loads(json.dumps(recipe.choices()))["architecture"]["kind"] == recipe.architecture.kind
    assert recipe.epochs > 0


def test_every_file_is_a_recipe_in_the_list() -> None:
    files = {path.stem for path in Path(recipes.__path__[0]).glob("*.py")} - {"__init__"}
    assert files == set(recipes.NAMES)


def test_an_unknown_recipe_names_those_there_are() -> None:
    with pytest.raises(TrainingError, match="circles"):
        recipes.get("octopus")


def test_letters_are_never_mirrored() -> None:
    assert not recipes.get("sign_language").augmentation.flip


def test_letters_that_are_hands_of_the_game_are_taken_and_others_left_out() -> None:
    folders = ("A", "B", "V", "Q", "Rock", "lizard")
    assert [rock_paper_scissors.label(folder) for folder in folders] == [
        "rock", "paper", "scissors", None, "rock", "lizard",
    ]  # fmt: skip


def test_nobody_is_on_both_sides_of_a_split() -> None:
    assert not rock_paper_scissors.UNSEEN & rock_paper_scissors.VALIDATION
    assert not sign_language_photos.UNSEEN & sign_language_photos.VALIDATION
    assert rock_paper_scissors.part("people_rock.IMG_5567_mp4-92_jpg.rf.773d_01095.webp") == "test"
    assert rock_paper_scissors.part("people_rock.JWitt-RCP_mp4-21_jpg.rf.25cd_00394.webp") == "validation"
    assert rock_paper_scissors.part("people_rock.youtube-1_jpg.rf.25cd_00394.webp") == ""


@pytest.mark.parametrize(
    ("name", "person", "part"),
    [
        ("rahman-frame_A_00.webp", "rahman", "test"),
        ("meyyappan-crop_A_03.webp", "meyyappan", "validation"),
        ("kepttrain_Q_11.webp", "kepttrain", ""),
    ],
)
def test_photographs_of_letters_are_split_by_person(name: str, person: str, part: str) -> None:
    assert (sign_language_photos.person(name), sign_language_photos.part(name)) == (person, part)


@pytest.mark.parametrize(
    "name",
    ["sign_language", "sign_language_photos", "mnist", "fashion_mnist", "cifar10", "image_folder", "transfer"],
)
def test_data_that_is_missing_is_asked_for(name: str, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="--data"):
        recipes.get(name).load(Request((), 0, None, tmp_path, print))


@pytest.mark.parametrize(
    ("name", "kin"),
    [
        ("people_rock.IMG_2734_MOV-12_jpg.rf.fd555f67_00828.webp", "IMG_2734_MOV"),
        ("people_paper.youtube-108_jpg.rf.e51c937f_00932.webp", "youtube"),
        ("people_rock.egohands-public-1620849855892_png_jpg.rf.7245_01535.webp", "egohands-public-16208"),
        ("people_rock.0260_png.rf.d531fcc2_01181.webp", "numbered"),
        ("greenscreen_BYoDUgGsCMmAIF9I.webp", "greenscreen_BYoDUgGsCMmAIF9I.webp"),
        ("rock01-000.png", "rock01"),
        ("rock07-k03-119.png", "rock07-k03"),
    ],
)
def test_frames_of_a_clip_are_known_by_their_names(name: str, kin: str) -> None:
    assert rock_paper_scissors.clip(name) == kin


def test_circles_draws_other_images_for_the_test(tmp_path: Path) -> None:
    data = recipes.get("circles").load(Request((), 0, 300, tmp_path, print))
    assert (len(data.train), len(data.test)) == (300, 50)
    assert not set(data.train.digests()) & set(data.test.digests())


@pytest.mark.slow
def test_the_command_line_does_not_wait_for_keras() -> None:
    code = (
        "import sys, training.commands; from training import recipes; [recipes.get(n) for n in recipes.NAMES];"
        "sys.exit(', '.join({'keras', 'tensorflow', 'matplotlib'} & set(sys.modules)) or None)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_each_recipe_has_a_line_in_the_help() -> None:
    said = CliRunner().invoke(train, ["--help"], terminal_width=200).output
    assert [name for name, _ in recipes.summaries()] == list(recipes.NAMES)
    for name, summary in recipes.summaries():
        assert summary.endswith(".")
        assert f"{name} " in said
    assert "Counting circles: the recipe to try first" in said
