r"""Sign language letters in colour photographs: 24 of them, by hands that the network has never seen.

    signpost train sign_language_photos --data letters_photos.zip --data sign_mnist.zip \
        --outsiders cats_vs_dogs.zip --outsiders cifar10_sheets.zip \
        --weights mobilenet_0.75_imagenet_no_top.weights.h5 --store model_store

A model of its own beside `sign_language`, whose 28x28 grey images are another input. The photographs are split by the
person or set that their names begin with, never by image: one is for the test, one for the validation (temperature and
threshold), the others are learned from, with a few images of each letter of Sign Language MNIST. `*-frame*` are whole
camera frames, `*-crop*` are cut around the hand; both are reported apart.

The background must not matter, nor where the hand is: hands before black are pasted onto photographs of other things,
all are cropped, turned, shifted and seen in other light. They are mirrored too, as some sign with the left hand.

No version of it ships yet: no training has been finished. After four epochs of a run of five it was right on 0.52 of
the validation's stranger, from 0.23 on the frozen features, and still rising.
"""

from dataclasses import replace

import numpy as np

from training.data import images, sign_mnist
from training.data.archives.sheets import resized
from training.data.augmentation import Augmentation
from training.data.datasets import Data, Dataset, dataset, joined
from training.data.request import Request
from training.errors import TrainingError
from training.recipe import Architecture, Recipe
from training.schedule import Phase
from training.strangers.composites import composites
from training.strangers.outsiders import read_backgrounds

SIZE = (112, 112)
STORED = (160, 160)

# Whose hands nothing is learned from.
UNSEEN = frozenset({"rahman"})
VALIDATION = frozenset({"meyyappan"})

COMPOSITES = 600  # at each of three passes over the hands
OF_MNIST = 50  # images of each letter


def load(request: Request) -> Data:
    """Read the photographs, and a part of Sign Language MNIST where that is given."""
    tables = [path for path in request.paths if sign_mnist.looks_like([path])]
    photographs = tuple(path for path in request.paths if path not in tables)
    if not photographs:
        raise TrainingError("sign_language_photos needs --data: photographs in a folder for each letter, A to Y.")
    layout = images.Layout(
        size=SIZE,
        stored=STORED,
        label=letter,
        groups=(("cut_out", lambda name: "-crop" in name), ("whole_frames", lambda name: "-frame" in name)),
        part=part,
        kin=person,
    )
    data = images.load(replace(request, paths=photographs), layout)
    parts = [data.train]
    if tables and data.train.classes == sign_mnist.LETTERS:
        parts.append(_small(sign_mnist.load(tables).train, request.seed))
    backgrounds = read_backgrounds(request.outsiders, STORED, request.cache, request.say)
    if len(backgrounds):
        parts += [composites(data.train, backgrounds, COMPOSITES, 3 * request.seed + turn) for turn in range(3)]
    return replace(data, train=joined(*parts))


def letter(folder: str) -> str | None:
    """The class of a folder's name: the letter; other folders (J, Z, space, …) are left out."""
    name = folder.upper()
    return name if name in sign_mnist.LETTERS else None


def person(name: str) -> str:
    """The person or set that a file's name begins with: `rahman` of `rahman-frame_A_00.webp`."""
    return name.split("_")[0].split("-")[0]


def part(name: str) -> str:
    """The part that a file is for, as whose hand it shows says."""
    return "test" if person(name) in UNSEEN else "validation" if person(name) in VALIDATION else ""


def _small(mnist: Dataset, seed: int) -> Dataset:
    """Some images of each letter, enlarged and in three channels."""
    order = np.random.default_rng(seed).permutation(len(mnist))
    targets = mnist.targets()[order]
    chosen = np.concatenate([order[targets == label][:OF_MNIST] for label in range(len(mnist.classes))])
    names = [f"mnist_{at}" for at in chosen]
    return dataset(
        resized(np.repeat(mnist.images(chosen), 3, axis=3), STORED, 3), mnist.targets(chosen), mnist.classes, names
    )


RECIPE = Recipe(
    model="sign_language_photos",
    purpose="Reads a letter of American Sign Language from a photograph; all but J and Z, which move.",
    load=load,
    size=SIZE,
    channels=3,
    architecture=Architecture(
        "transfer", backbone="MobileNet", backbone_options=(("alpha", 0.75),), frozen="conv_pw_3_relu", dropout=0.3
    ),
    augmentation=Augmentation(
        flip=True,
        rotation=15,
        zoom=0.3,
        shift=0.15,
        shear=8,
        crop=0.6,
        brightness=0.35,
        contrast=0.35,
        saturation=0.6,
        tint=0.2,
        grey=0.2,
        cutout=0.15,
    ),
    phases=(Phase(epochs=10),),
    batch_size=32,
    learning_rate=4e-4,
    warmup=0.1,
    weight_decay=0.02,
    label_smoothing=0.05,
    average_decay=0.998,
    head_epochs=3,
)
