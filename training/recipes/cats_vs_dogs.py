r"""Cats and dogs: a small network that began with ImageNet weights and learned from a larger one.

    signpost train cats_vs_dogs --data cats_vs_dogs.zip --data pets_photos.zip \
        --weights mobilenet_0.75_imagenet_no_top.weights.h5 --teacher teachers/cats_vs_dogs \
        --outsiders rps_photos.zip --outsiders cifar10_sheets.zip --store model_store

takes a quarter of an hour on two idle cores, and ships: 0.9760 of the 2,500 test images of the archive, 0.968 of the
pets of breeds that it never saw (240 of 248). The teacher is EfficientNet-Lite0, of which only the last layer is
trained; it is right on 0.9804 and 0.984, and takes half as long again, or twice as long for a single image:

    signpost train cats_vs_dogs --data cats_vs_dogs.zip --data pets_photos.zip \
        --weights efficientnet-lite0-57934424.pth --set architecture.kind=efficientnet_lite0 \
        --set architecture.frozen= --set augmentation.flip=no --set head_epochs=8 --epochs 0 --store teachers

Without `--data pets_photos.zip`, `--teacher` or `--outsiders` it trains on what is left. What counts are pets of other
photographers: those of some breeds, `UNSEEN`, are for the test alone; the others are seen several times an epoch, and
hairless cats, which were taken for dogs, more often still. Random crops, down to a quarter of the image, and pieces
pasted from others keep the network from going by the lawn.

The images are 128 and 160 pixels while it trains and 192 in the published model, since crops show the animals larger.
The first convolutions keep their weights.
"""

import re
from dataclasses import replace

import numpy as np

from training.data import images
from training.data.augmentation import Augmentation
from training.data.datasets import Data, Dataset, Rows
from training.data.downloads import Archive, fetch_all
from training.data.request import Request
from training.recipe import Architecture, Recipe
from training.schedule import Phase

SIZE = (192, 192)

ARCHIVE = Archive(
    "https://download.microsoft.com/download/3/E/1/3E1C3F21-ECDB-4869-8368-6DEBA77B919F/kagglecatsanddogs_5340.zip",
    "b7974bd00a84a99921f36ee4403f089853777b5ae8d151c76a86e64900334af9",
)

# Breeds of the Oxford-IIIT Pet data set of which nothing is learned from: its photographers upload one or two breeds.
UNSEEN = frozenset(
    {
        *("Birman", "Bombay", "Egyptian_Mau", "Persian", "Siamese"),
        *("beagle", "boxer", "pug", "samoyed", "shiba_inu", "yorkshire_terrier"),
    }
)
PETS = 3  # times that an epoch sees a pet of the other breeds
HAIRLESS = 12


def load(request: Request) -> Data:
    """Read the Kaggle or Microsoft archive and others; without --data, fetch Microsoft's."""
    paths = request.paths or fetch_all([ARCHIVE], request.cache, request.say)
    groups = (("kaggle", lambda name: not breed(name)), ("pets_of_unseen_breeds", is_unseen))
    layout = images.Layout(size=SIZE, stored=SIZE, label=str.lower, groups=groups, part=part)
    data = images.load(replace(request, paths=paths), layout)
    return replace(data, train=data.train.subset(_rows(data.train)))


def breed(name: str) -> str:
    """The breed that the Oxford-IIIT Pet data set names a file by, `Birman_10.webp`; nothing for other names."""
    named = re.fullmatch(r"([A-Za-z_]+)_\d+\.\w+", name)
    return named[1] if named else ""


def is_unseen(name: str) -> bool:
    """Whether a file is of a breed that is for the test alone."""
    return breed(name) in UNSEEN


def part(name: str) -> str:
    """The part that a file is for, as its breed says."""
    return "test" if is_unseen(name) else ""


def _rows(train: Dataset) -> Rows:
    """Which images an epoch sees, some of them several times."""
    breeds = [breed(train.name(at).rsplit("/", 1)[-1]) for at in range(len(train))]
    times = [HAIRLESS if name == "Sphynx" else PETS if name else 1 for name in breeds]
    return np.repeat(np.arange(len(train), dtype=np.int64), times)


RECIPE = Recipe(
    model="cats_vs_dogs",
    purpose="Tells cats from dogs in photographs.",
    load=load,
    size=SIZE,
    channels=3,
    architecture=Architecture("mobilenet", scale=0.75, dropout=0.2, frozen="block5_pointwise"),
    augmentation=Augmentation(
        flip=True, crop=0.25, brightness=0.3, contrast=0.3, saturation=0.4, tint=0.1, grey=0.05, mixup=0.2, cutmix=1.0
    ),
    phases=(Phase(3, 128), Phase(2, 160), Phase(1, 160, mix=False)),
    batch_size=64,
    learning_rate=3e-4,
    warmup=0.05,
    weight_decay=0.02,
    average_decay=0.998,
    validation=0.04,
)
