"""`signpost init`: a folder with everything a first service needs, made in a second."""

import shutil
import sys
from pathlib import Path
from typing import Final

import click

from service.errors import StoreError

_MODEL: Final = "sign_language"
_IMAGE: Final = "hand_y.png"
_STARTER: Final = Path(__file__).parent / "starter"
# In a checkout the model and its image lie where they are made, in an installation beside the other files (setup.py).
_CHECKOUT: Final = Path(__file__).parents[2]


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
def init(folder: Path) -> None:
    """Make FOLDER: a store with a trained model, its models.config, an image to try and a compose file."""
    is_new = not folder.exists()
    if not is_new and (not folder.is_dir() or any(folder.iterdir())):
        raise StoreError(f"{folder} already exists; `signpost init` needs the name of a new or an empty folder.")
    model = _found(_STARTER / _MODEL, _CHECKOUT / "model_store" / _MODEL)
    image = _found(_STARTER / _IMAGE, _CHECKOUT / "docs" / "images" / _IMAGE)
    try:
        shutil.copytree(model, folder / "model_store" / _MODEL)
        shutil.copyfile(_STARTER / "models.config", folder / "model_store" / "models.config")
        shutil.copyfile(_STARTER / "compose.yaml", folder / "compose.yaml")
        shutil.copyfile(image, folder / _IMAGE)
    except OSError as error:
        if is_new:
            shutil.rmtree(folder, ignore_errors=True)
        # copytree's own error is a list of files, each with its reason.
        reason = error.args[0][0][2] if isinstance(error, shutil.Error) else error.strerror
        raise StoreError(f"{folder} can't be written: {reason}.") from error
    click.echo(_next_steps(folder))


def _found(*places: Path) -> Path:
    """The first of the places that exists.

    Raises:
        StoreError: none does, as in the container image.
    """
    for place in places:
        if place.exists():
            return place
    raise StoreError(
        f"This installation of Signpost came without {places[0].name}; `signpost train circles --store my_store` "
        "trains a first model."
    )


def _next_steps(folder: Path) -> str:
    signpost = "signpost" if shutil.which("signpost") else Path(sys.argv[0]).resolve()
    return f"""\
{folder} now holds a store with the model {_MODEL} (the letter that a hand shows), its models.config,
an image to try and a compose file. Serve it:

  cd {folder}
  {signpost} serve

and in another shell, in the same folder:

  curl --data-binary @{_IMAGE} 'http://127.0.0.1:8501/v1/models/{_MODEL}:predict?top_k=2'

http://127.0.0.1:8501 is a page to try it on. Your own photographs, in one folder for each class, make another model:

  {signpost} train image_folder --data PHOTOS --name my_model

publishes it in the store; model_store/models.config says what is served, so add it there."""
