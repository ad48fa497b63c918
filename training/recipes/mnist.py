r"""MNIST: ten handwritten digits, 28x28 grey, by the tutorials' modified VGGNet.

    signpost train mnist --data mnist --store model_store

`--data` takes the folder or zip of the four IDX files as they are published, gzipped or not. The tutorial's network
reached 0.979.
"""

from training.data.archives import idx
from training.data.augmentation import Augmentation
from training.data.datasets import Data
from training.data.request import Request
from training.errors import TrainingError
from training.recipe import Architecture, Recipe
from training.schedule import Phase


def load(request: Request) -> Data:
    """Read the four files."""
    if not request.paths:
        raise TrainingError("mnist needs --data: the folder or zip of MNIST's four IDX files.")
    return idx.load(request.paths, [str(digit) for digit in range(10)])


RECIPE = Recipe(
    model="mnist",
    purpose="Reads a handwritten digit.",
    load=load,
    size=(28, 28),
    channels=1,
    architecture=Architecture("vgg", widths=(16, 32), units=64, dropout=0.25),
    augmentation=Augmentation(rotation=8, zoom=0.08, shift=0.06),
    phases=(Phase(epochs=2),),
    batch_size=128,
    learning_rate=3e-3,
    weight_decay=0.01,
    average_decay=0.99,
    validation=0.05,
)
