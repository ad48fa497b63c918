r"""Sign language letters: 24 of them, from 28x28 grey photographs of a hand.

    signpost train sign_language --data sign_mnist.zip --store model_store

Takes about seven minutes on two cores and answers all 7,172 official test images rightly.

All training images are frames of a few hands, so validation images set aside from them are near duplicates and say
little; the official test file shows other frames. What carries over is what augmentation adds: turned, zoomed,
shifted and sheared hands in other light. Never mirrored: a mirrored hand is another signer's, not in this data.

What ships is that network, published once more when the models learned what they do not know:

    signpost train sign_language --data sign_mnist.zip --outsiders cats_vs_dogs.zip --outsiders cifar10_sheets.zip \
        --weights model_store/sign_language/1 --epochs 0 --store model_store
"""

from training.data import sign_mnist
from training.data.augmentation import Augmentation
from training.data.datasets import Data
from training.data.request import Request
from training.errors import TrainingError
from training.recipe import Architecture, Recipe
from training.schedule import Phase


def load(request: Request) -> Data:
    """Read the two CSV files."""
    if not request.paths:
        raise TrainingError(
            "sign_language needs --data: fetch https://www.kaggle.com/datasets/datamunge/sign-language-mnist "
            "(that takes an account) and name the zip, its folder or its two CSV files."
        )
    return sign_mnist.load(request.paths)


RECIPE = Recipe(
    model="sign_language",
    purpose="Reads a letter of American Sign Language from a small picture of a hand: all but J and Z, which move.",
    load=load,
    size=(28, 28),
    channels=1,
    architecture=Architecture("cnn", widths=(32, 48, 96), depths=(1, 1, 2), dropout=0.2),
    augmentation=Augmentation(rotation=15, zoom=0.15, shift=0.12, shear=8, brightness=0.2, contrast=0.3, cutout=0.25),
    phases=(Phase(epochs=30),),
    batch_size=128,
    learning_rate=3e-3,
    weight_decay=0.02,
    label_smoothing=0.05,
    average_decay=0.998,
    validation=0.05,
)
