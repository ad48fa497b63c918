"""Counting many circles: 45 to 50 of them, the hard one; no eye sees the difference at a glance.

    signpost train circles_many --store model_store

Takes about five minutes on two cores and reaches 0.79. A sum over the image has to be exact to two percent, so nothing
may be pooled away early: the mean over the places at the end does the counting.
"""

from training.data.augmentation import Augmentation
from training.data.circles import draw_dataset
from training.data.datasets import Data, Dataset
from training.data.request import Request
from training.errors import TrainingError
from training.recipe import Architecture, Recipe
from training.schedule import Phase

SAMPLES = 8000
TEST_SHARE = 8  # one test image for this many training images


def load(request: Request) -> Data:
    """Draw training images from the run's seed, and test images from another one."""
    if request.paths:
        raise TrainingError("circles_many draws its own images; leave --data out, or use image_folder for yours.")
    samples = SAMPLES if request.samples is None else request.samples
    return Data(
        train=_draw(samples, seed=2 * request.seed + 1),
        test=_draw(max(60, samples // TEST_SHARE), seed=2 * request.seed),
    )


def _draw(samples: int, seed: int) -> Dataset:
    return draw_dataset(samples, seed, side=64, counts=range(45, 51), radii=(1, 3))


RECIPE = Recipe(
    model="circles_many",
    purpose="Counts the circles in a grey drawing, 45 to 50 of them.",
    load=load,
    draws=True,
    size=(64, 64),
    channels=1,
    architecture=Architecture("cnn", widths=(24, 32), depths=(2, 2)),
    augmentation=Augmentation(flip=True),
    phases=(Phase(epochs=20),),
    batch_size=64,
    learning_rate=4e-3,
    weight_decay=0.01,
    average_decay=0.99,
)
