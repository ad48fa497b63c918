"""`signpost evaluate`: a published version on images from files."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from service.commands.cli import main
from service.errors import SignpostError
from training.commands import evaluate
from training.data.circles import draw_dataset

pytestmark = pytest.mark.slow  # TensorFlow


@pytest.fixture(scope="module")
def at(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a model that counts circles, and 60 images in folders."""
    folder = tmp_path_factory.mktemp("judged")
    arguments = ["train", "circles", "--samples", "300", "--epochs", "1", "--store", str(folder / "store")]
    options = ["--cache", str(folder / "cache"), "--report", str(folder / "report")]
    assert CliRunner().invoke(main, arguments + options).exit_code == 0
    data = draw_dataset(60, seed=77)
    for number, (pixels, label) in enumerate(zip(data.pixels, data.labels, strict=True)):
        path = folder / "images" / data.classes[label] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels[..., 0]).save(path)
    (folder / "images" / "3" / "notes.txt").write_text("no image")
    for name in ("5", "6"):
        (folder / "others" / name).mkdir(parents=True)
        Image.fromarray(data.pixels[0, ..., 0]).save(folder / "others" / name / "1.png")
    return folder


def judge(at: Path, model: str, data: Path, report: str = "judged") -> Result:
    arguments = [model, "--data", str(data), "--store", str(at / "store"), "--cache", str(at / "cache")]
    return CliRunner().invoke(evaluate, [*arguments, "--report", str(at / report)])


def test_every_image_is_judged_by_the_version_itself(at: Path) -> None:
    result = judge(at, "circles/1", at / "images")
    assert result.exit_code == 0, result.exception
    written = json.loads((at / "judged" / "evaluation.json").read_text())
    test = written["metrics"]["test"]
    assert test["images"] == sum(map(sum, test["confusion"])) == 60
    assert [sum(row) for row in test["confusion"]] == [12] * 5
    assert written["data"]["skipped"] == {"no image": 1}
    assert f"{test['correct']} of 60 right" in result.output


def test_the_page_stands_alone_and_shows_everything(at: Path) -> None:
    judge(at, "circles", at / "images")
    page = (at / "judged" / "report.html").read_text("utf-8")
    assert not re.findall(r'(?:src|href)="(?!data:)[^"]*"', page)
    for heading in ("Confusion matrix", "Reliability", "Most confident mistakes", "Correct answers", "How to serve it"):
        assert f"<h2>{heading}</h2>" in page
    for heading in (
        "What the model looks at",
        "A sample of the test images",
        "First filters",
        "Feature maps",
        "Activations",
        "Each class",
        "Data",
        "Network",
        "Model card",
    ):
        assert f"<h2>{heading}</h2>" in page
    for name in ("confusion_matrix", "reliability", "mistakes", "correct", "looked_at", "filters", "feature_maps"):
        with Image.open(at / "judged" / f"{name}.png") as picture:
            assert np.asarray(picture.convert("L")).std() > 0


def test_a_model_that_signpost_did_not_train_is_judged_by_its_answers_alone(at: Path) -> None:
    card = at / "store" / "circles" / "1" / "assets.extra" / "model_card.json"
    text = card.read_text()
    card.unlink()
    try:
        result = judge(at, "circles", at / "images", "foreign")
    finally:
        card.write_text(text)
    assert result.exit_code == 0, result.exception
    assert not (at / "foreign" / "looked_at.png").exists()
    assert (at / "foreign" / "mistakes.png").exists()


@pytest.mark.parametrize(
    ("model", "folder", "problem"),
    [
        ("squares", "images", "no model 'squares'.*circles"),
        ("circles/9", "images", "no version '9'"),
        ("circles", "missing", "nothing at"),
        ("circles", "others", "folders called 6; the classes of the model are 1, 2, 3, 4, 5"),
    ],
)
def test_what_can_not_be_judged_says_so(model: str, folder: str, problem: str, at: Path) -> None:
    result = judge(at, model, at / folder)
    assert isinstance(result.exception, SignpostError)
    assert re.search(problem, str(result.exception))


def test_data_are_asked_for(at: Path) -> None:
    result = CliRunner().invoke(evaluate, ["circles", "--store", str(at / "store")])
    assert isinstance(result.exception, SignpostError)
    assert "--data" in str(result.exception)
