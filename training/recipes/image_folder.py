"""Any folder of images: one folder of images for each class.

    signpost train image_folder --data my_photos --name my_model --store model_store

Takes about two minutes for a thousand images on two cores; what to expect depends on the images. With fewer than a
few hundred of each class, take the recipe `transfer`, which begins with what another network has learned.

`train/` and `test/` (or `validation/`) folders, zip archives, and several `--data` all work; without a test part, a
seventh of each class is held out for the test.
"""

from training.data import images
from training.data.augmentation import Augmentation
from training.data.datasets import Data
from training.data.request import Request
from training.errors import TrainingError
from training.recipe import Architecture, Recipe
from training.schedule import Phase

SIZE = (128, 128)


def load(request: Request) -> Data:
    """Read the class folders."""
    if not request.paths:
        raise TrainingError(
            "image_folder needs --data: a folder or zip archive with one folder of images for each class."
        )
    return images.load(request, images.Layout(size=SIZE, stored=(160, 160)))


RECIPE = Recipe(
    model="image_folder",
    load=load,
    size=SIZE,
    channels=3,
    # The same network as cats_vs_dogs, so that its weights fit.
    architecture=Architecture("resnet", stem=32, widths=(64, 128, 256), depths=(1, 2, 2), dropout=0.2),
    augmentation=Augmentation(flip=True, crop=0.4, rotation=10, brightness=0.25, contrast=0.25, saturation=0.3),
    phases=(Phase(15, 96), Phase(15, 112)),
    batch_size=32,
    learning_rate=1e-3,
    warmup=0.1,
    weight_decay=0.05,
    label_smoothing=0.05,
    average_decay=0.995,
    precision="mixed_bfloat16",
    validation=0.1,
)
