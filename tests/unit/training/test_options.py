"""What is asked for is checked at once: before TensorFlow is imported, and before anything is written."""

import json
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from service.errors import SignpostError
from tests.unit.training.tiny import RECIPE
from training import options
from training.network.architectures import ARCHITECTURES
from training.options import Options
from training.recipe import KINDS, OPTIMIZERS, Architecture, Recipe
from training.schedule import Phase

pytestmark = pytest.mark.slow  # TensorFlow

# Commands, in a folder with `pets` (cat, dog), `days` (am and pm with cat and dog each), an image, and a store with the
# model `m`, whose card names the classes a and b.
WRONG = {
    "train": "Missing argument",
    "train octopus": "'octopus' is not one of",
    "train circles --epoch 1": "No such option '--epoch'",
    "train circles --epochs many": "not a valid integer",
    "train circles --epochs 0": "Nothing can be trained in 0 epochs",
    "train circles --learning-rate nan": "learning_rate is nan",
    "train circles --set widths=1": "there is no setting 'widths'",
    "train circles --set architecture.kind=rnn": "no architecture 'rnn'; there are cnn",
    "train circles --set optimizer=lion": "no optimizer 'lion'; there are adam",
    "train circles --set architecture.kind=dense --set phases=1@16,1@32": "dense needs images of one size",
    "train circles --set start_share=0.5": "--weights",
    "train circles --name a/b": "'a/b' is not a valid model name",
    "train circles --store in_the_way": "The folder in_the_way/circles can't be written: Not a directory",
    "train circles --report in_the_way": "--report",
    "train circles --cache in_the_way": "--cache",
    "train circles --checkpoints in_the_way/deep": "--checkpoints",
    "train circles --tensorboard in_the_way": "--tensorboard",
    "train circles --resume": "There is no checkpoint at cache/checkpoints/circles/checkpoint.npz",
    "train circles --resume --find-rate": "leave one of them out",
    "train circles --quantize int8 --find-rate": "nothing to --quantize",
    "train circles --quantize int4": "'int4' is not",
    "train circles --weights nowhere": "There is no version at nowhere",
    "train transfer --data pets --weights nowhere": "There is no file nowhere",
    "train circles --data pets": "draws its own images",
    "train circles --samples 2": "2 samples are too few",
    "train image_folder": "needs --data",
    "train image_folder --data nowhere": "There is nothing at nowhere",
    "train image_folder --data in_the_way": "neither a folder nor a complete zip archive",
    "train image_folder --data pets/cat": "no images in class folders in pets/cat",
    "train image_folder --data days": "am, pm, or those inside them, cat, dog",
    "train image_folder --data days.zip": "am, pm, or those inside them, cat, dog",
    "train image_folder --data days --class-folders top": "'top' is not one of",
    "train image_folder --data pets --samples 9": "leave it out",
    "train image_folder --data pets": "'cat' has 0 training images",
    "train sign_language": "needs --data",
    "train sign_language --data pets": "no sign_mnist_train.csv in pets",
    "evaluate": "Missing argument",
    "evaluate m --store store": "needs --data",
    "evaluate m --data pets --store nowhere": "There is no store at nowhere",
    "evaluate x --data pets --store store": "There is no model 'x' in store; there are: m",
    "evaluate m/7 --data pets --store store": "m has no version '7' in store; it has 1",
    "evaluate m --data nowhere --store store": "There is nothing at nowhere",
    "evaluate m --data nowhere.csv --store store": "There is nothing at nowhere.csv",
    "evaluate m --data pets --store store": "folders called cat, dog; the classes of the model are a, b",
    "evaluate m --data pets --store store --report in_the_way": "--report",
    "evaluate m --data pets --store store --cache in_the_way": "--cache",
}

PROGRAM = """
import json, sys
from click.testing import CliRunner
from service.commands.cli import main
told = {}
for command in json.load(sys.stdin):
    result = CliRunner(env={"SIGNPOST_CACHE": "cache"}).invoke(main, command.split())
    heavy = sorted({"tensorflow", "keras", "matplotlib"} & sys.modules.keys())
    told[command] = [result.exit_code, result.output, repr(result.exception), heavy]
json.dump(told, sys.stdout)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    at = tmp_path_factory.mktemp("asked")
    for name in ("pets/cat", "pets/dog", "days/am/cat", "days/am/dog", "days/pm/cat", "days/pm/dog"):
        (at / name).mkdir(parents=True)
        (at / name / "1.png").write_bytes(b"no image")
    with zipfile.ZipFile(at / "days.zip", "w") as archive:
        for file in (at / "days").rglob("*.png"):
            archive.write(file, file.relative_to(at))
    (at / "in_the_way").write_text("a file")
    version = at / "store" / "m" / "1"
    (version / "assets.extra").mkdir(parents=True)
    (version / "saved_model.pb").write_bytes(b"")
    (version / "assets.extra" / "model_card.json").write_text('{"classes": ["a", "b"]}')
    return at


def test_wrong_commands_are_told_in_a_sentence_before_tensorflow_is_imported(folder: Path) -> None:
    before = sorted(path for path in folder.rglob("*") if "cache" not in path.parts)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        input=json.dumps(list(WRONG)),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        cwd=folder,
        env={"PYTHONPATH": str(Path(__file__).parents[3]), "PATH": "/usr/bin:/bin"},
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    for command, expected in WRONG.items():
        code, output, error, heavy = told[command]
        assert code == 2, (command, output, error)
        assert expected in output, (command, output)
        assert "Traceback" not in output
        assert heavy == [], command
        assert [line for line in output.splitlines() if line.startswith("Error: ")], (command, output)
    assert sorted(path for path in folder.rglob("*") if "cache" not in path.parts) == before


def asked(at: Path, **choices: object) -> Options:
    plain = Options((), at / "store", "m", 0, None, at / "report", at / "cache", at / "checkpoints", resume=False)
    return replace(plain, **choices)  # type: ignore[arg-type]  # any of its fields


def choices(**changed: object) -> Recipe:
    return replace(RECIPE, **changed)  # type: ignore[arg-type]  # any of its fields


@pytest.mark.parametrize(
    ("recipe", "problem"),
    [
        (choices(precision="float8"), "no precision 'float8'"),
        (choices(validation=1.0), "validation is 1.0; it is a fraction, from 0 to less than 1"),
        (choices(label_smoothing=-0.1), "label_smoothing"),
        (choices(average_decay=float("nan")), "average_decay"),
        (choices(start_share=1.5), "start_share is 1.5; it is a fraction, from 0 to 1"),
        (choices(batch_size=0), "batch_size"),
        (choices(learning_rate=0.0), "learning_rate"),
        (choices(phases=(Phase(3), Phase(-1))), "phases"),
        (choices(phases=(Phase(3, 0),)), "phases"),
        (choices(architecture=Architecture(dropout=1.0)), "dropout"),
        (choices(architecture=Architecture(widths=())), "widths"),
        (choices(architecture=Architecture(depths=(0,))), "depths"),
        (choices(architecture=Architecture(mean_image=True), phases=(Phase(1, 4),)), "a mean image needs"),
        (choices(architecture=Architecture(units=8), phases=(Phase(1, 4),)), "units needs"),
    ],
)
def test_choices_that_no_training_can_have_are_refused(recipe: Recipe, problem: str, tmp_path: Path) -> None:
    with pytest.raises(SignpostError, match=problem):
        options.check(recipe, asked(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_what_is_right_passes_and_writes_nothing(tmp_path: Path) -> None:
    options.check(RECIPE, asked(tmp_path))
    options.check(choices(phases=(Phase(0),), architecture=Architecture("transfer", widths=())), asked(tmp_path))
    options.check(RECIPE, asked(tmp_path, find_rate=True, store=Path("/dev/null")))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("backend", "problem"),
    [("theano", "trained on jax, tensorflow, torch"), ("torch", "torch, which is not installed")],
)
def test_a_backend_that_is_not_there_is_refused(
    backend: str, problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KERAS_BACKEND", backend)
    monkeypatch.setattr(options.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(SignpostError, match=problem):
        options.check(RECIPE, asked(tmp_path))
    monkeypatch.delenv("KERAS_BACKEND")
    with pytest.raises(SignpostError, match="need TensorFlow"):
        options.check(RECIPE, asked(tmp_path, tensorboard=tmp_path))


def test_quantising_names_what_it_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(options.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(SignpostError, match=r"needs nncf and openvino: pip install 'signpost-serving\[quantize\]'"):
        options.check(RECIPE, asked(tmp_path, quantize="int8"))


def test_the_kinds_are_those_that_can_be_built() -> None:
    from training.loop.fit import make_optimizer

    assert sorted(ARCHITECTURES) == list(KINDS)
    for name in OPTIMIZERS:
        make_optimizer(choices(optimizer=name))
