r"""Fashion-MNIST: ten kinds of clothes, 28x28 grey, by the tutorials' networks.

    signpost train fashion_mnist --data fashion_mnist --store model_store

`--data` takes the folder or zip of the four IDX files as they are published, gzipped or not. The recipe is the
tutorial's dense network of one hidden layer, which reached 0.87. With `--set` it becomes the tutorials' other networks;
`docs/tutorials.md` has the commands and what they reach.
"""

from training.data.archives import idx
from training.data.augmentation import Augmentation
from training.data.datasets import Data
from training.data.request import Request
from training.errors import TrainingError
from training.recipe import Architecture, Recipe
from training.schedule import Phase

# In the order of the labels 0 to 9.
CLASSES = (
    "t_shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle_boot",
)  # fmt: skip


def load(request: Request) -> Data:
    """Read the four files."""
    if not request.paths:
        raise TrainingError("fashion_mnist needs --data: the folder or zip of Fashion-MNIST's four IDX files.")
    return idx.load(request.paths, CLASSES)


RECIPE = Recipe(
    model="fashion_mnist",
    purpose="Names a garment in a small grey picture.",
    load=load,
    size=(28, 28),
    channels=1,
    architecture=Architecture("dense", widths=(128,)),
    augmentation=Augmentation(),
    phases=(Phase(epochs=5),),
    batch_size=64,
    learning_rate=2e-3,
    weight_decay=0.01,
    average_decay=0.99,
    validation=0.05,
)
