r"""Cats and dogs: a small ResNet from random initial weights.

    signpost train cats_vs_dogs --data cats_vs_dogs.zip --store model_store

Takes an hour on two idle cores with AMX and reaches 0.969 on 2,500 test images; `--resume` goes on after an
interruption. Two more trainings, each beginning with the weights of the one before, take a quarter of an hour and half
an hour; they reach 0.9696 and, at more pixels and half way back to the second's weights, 0.9728, which ships:

    signpost train cats_vs_dogs --data cats_vs_dogs.zip --weights model_store/cats_vs_dogs/1 \
        --set phases=2@96,6@112,6@112! --set learning_rate=1e-3
    signpost train cats_vs_dogs --data cats_vs_dogs.zip --weights model_store/cats_vs_dogs/2 \
        --set phases=18@128,6@128! --set learning_rate=1.2e-3 --set start_share=0.5

The images grow from 64 to 112 and 128 pixels while it trains: early epochs learn the coarse things at a third of the
cost. The published model takes 144 pixels, since random crops show the animals larger in training than they are in
whole images. (The first two trainings were measured at 128 pixels, with crops from 160 instead of 192.)
"""

from dataclasses import replace

from training.data import images
from training.data.augmentation import Augmentation
from training.data.datasets import Data
from training.data.downloads import Archive, fetch_all
from training.data.request import Request
from training.recipe import Architecture, Recipe
from training.schedule import Phase

SIZE = (144, 144)

ARCHIVE = Archive(
    "https://download.microsoft.com/download/3/E/1/3E1C3F21-ECDB-4869-8368-6DEBA77B919F/kagglecatsanddogs_5340.zip",
    "b7974bd00a84a99921f36ee4403f089853777b5ae8d151c76a86e64900334af9",
)


def load(request: Request) -> Data:
    """Read the Kaggle or Microsoft archive, as a zip or a folder; without --data, fetch Microsoft's."""
    paths = request.paths or fetch_all([ARCHIVE], request.cache, request.say)
    return images.load(replace(request, paths=paths), images.Layout(size=SIZE, stored=(192, 192), label=str.lower))


RECIPE = Recipe(
    model="cats_vs_dogs",
    purpose="Tells cats from dogs in photographs.",
    load=load,
    size=SIZE,
    channels=3,
    architecture=Architecture("resnet", stem=32, widths=(64, 128, 256), depths=(1, 2, 2), dropout=0.1),
    augmentation=Augmentation(
        flip=True, crop=0.3, brightness=0.3, contrast=0.3, saturation=0.4, tint=0.1, grey=0.05, mixup=0.2, cutmix=1.0
    ),
    phases=(Phase(20, 64), Phase(22, 96), Phase(10, 112), Phase(8, 112, mix=False)),
    batch_size=64,
    learning_rate=2e-3,
    warmup=0.05,
    weight_decay=0.05,
    label_smoothing=0.05,
    average_decay=0.999,
    precision="mixed_bfloat16",
    validation=0.04,
)
