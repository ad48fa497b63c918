"""Transfer learning: any folder of images, beginning with a network that was trained on ImageNet.

    signpost train transfer --data my_photos --name my_model --store model_store

First a new last layer is trained on the features of the frozen MobileNet, which are computed once (about three
minutes for 20,000 images on two cores); then the phases train all of it a little. `--epochs 0` leaves that out.
Without `--weights FILE` Keras fetches the weights; `--weights model_store/cats_vs_dogs` begins with those of a model.

Any function of `keras.applications` can be the backbone: `--set architecture.kind=transfer --set
architecture.backbone=VGG16`. What ships as `mobilenet` has its batch normalisation folded in, and so answers sooner.
"""

from training.data import images
from training.data.augmentation import Augmentation
from training.data.datasets import Data
from training.data.request import Request
from training.errors import TrainingError
from training.recipe import Architecture, Recipe
from training.schedule import Phase

SIZE = (160, 160)


def load(request: Request) -> Data:
    """Read the class folders."""
    if not request.paths:
        raise TrainingError("transfer needs --data: a folder or zip archive with a folder of images for each class.")
    return images.load(request, images.Layout(size=SIZE, stored=SIZE, label=str.lower))


RECIPE = Recipe(
    model="transfer",
    load=load,
    size=SIZE,
    channels=3,
    architecture=Architecture("mobilenet", scale=0.75, dropout=0.2),
    augmentation=Augmentation(flip=True, crop=0.5, brightness=0.2, contrast=0.2, saturation=0.2),
    phases=(Phase(epochs=2),),
    batch_size=32,
    learning_rate=3e-4,
    warmup=0.1,
    weight_decay=0.01,
    label_smoothing=0.05,
    average_decay=0.99,
    validation=0.04,
    head_epochs=10,
)
