r"""CIFAR-10: ten kinds of animals and vehicles, 32x32 in colour, by the tutorials' modified VGGNet with a mean image.

    signpost train cifar10 --data cifar10_sheets.zip --store model_store

`--data` takes image sheets (`training/data/archives/sheets.py`): files of many images, in `train/CLASS/` and
`test/CLASS/`. The tutorial's network reached 0.725.
"""

from training.data.archives import sheets
from training.data.augmentation import Augmentation
from training.data.datasets import Data
from training.data.request import Request
from training.errors import TrainingError
from training.recipe import Architecture, Recipe
from training.schedule import Phase


def load(request: Request) -> Data:
    """Read the sheets."""
    if not request.paths:
        raise TrainingError("cifar10 needs --data: image sheets in train/CLASS/ and test/CLASS/, in a folder or zip.")
    return sheets.load(request.paths)


RECIPE = Recipe(
    model="cifar10",
    purpose="Sorts small colour photographs into ten classes: animals and vehicles.",
    load=load,
    size=(32, 32),
    channels=3,
    architecture=Architecture("vgg", widths=(32, 64), units=256, dropout=0.25, mean_image=True),
    augmentation=Augmentation(flip=True, shift=0.08),
    phases=(Phase(epochs=12),),
    batch_size=128,
    learning_rate=3e-3,
    weight_decay=0.01,
    average_decay=0.995,
    precision="mixed_bfloat16",
    validation=0.04,
)
