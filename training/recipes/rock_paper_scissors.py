r"""Rock, paper, scissors: rendered hands and photographs together, beginning with what cats_vs_dogs has learned.

    signpost train rock_paper_scissors --data rps.zip --data rps-test-set.zip --data rps_photos.zip \
        --weights model_store/cats_vs_dogs --store model_store

Takes about ten minutes on two cores with AMX and reaches 1.000 on Moroney's official test images and 0.948 on the test
photographs (0.887 on those of many people in cluttered rooms, 1.000 before a green screen). Ten more minutes, beginning
with those weights and ending half way back to them, reach 0.997 and 0.964 (0.922 and 1.000); that ships. Without
going back they give up rendered hands for photographs: 0.970 and 0.971.

    signpost train rock_paper_scissors --data rps.zip --data rps-test-set.zip --data rps_photos.zip \
        --weights model_store/rock_paper_scissors/1 --set phases=16@112,10@112! --set learning_rate=1e-3 \
        --set start_share=0.5

The rendered hands alone teach nothing about photographs, and there are few of those; edges, textures and shapes
learned on cats and dogs make up for it. Hands may be mirrored and turned, a right hand's rock is also a left hand's.
"""

import re
from dataclasses import replace

from training.data import images
from training.data.augmentation import Augmentation
from training.data.datasets import Data
from training.data.downloads import Archive, fetch_all
from training.data.request import Request
from training.recipe import Architecture, Recipe
from training.schedule import Phase

SIZE = (128, 128)

ARCHIVES = (
    Archive(
        "https://storage.googleapis.com/download.tensorflow.org/data/rps.zip",
        "c2403444395842ad04c53612bad54b574443eae17a0723117a2ff87b9d72194f",
    ),
    Archive(
        "https://storage.googleapis.com/download.tensorflow.org/data/rps-test-set.zip",
        "c27ab9fa43ce40b2e453de711365b477f4424586edf0388116674fd320f07503",
    ),
)


def load(request: Request) -> Data:
    """Read the archives that are given; without any, fetch Moroney's two."""
    paths = request.paths or fetch_all(ARCHIVES, request.cache, request.say)
    groups = (
        ("rendered", "test"),
        ("photographs", ("people_", "greenscreen_")),
        ("people", "people_"),
        ("greenscreen", "greenscreen_"),
    )
    layout = images.Layout(size=SIZE, stored=(160, 160), label=str.lower, groups=groups, kin=clip)
    return images.load(replace(request, paths=paths), layout)


def clip(name: str) -> str:
    """What a frame belongs with: `people_rock.IMG_12_MOV-3_jpg.rf.x.webp` is of the clip `IMG_12_MOV`.

    Photographs called by the time they were taken (in ms) belong with those of the same quarter of an hour.
    """
    base = name.split(".rf.")[0].removesuffix("_jpg").removesuffix("_png")
    timed = re.fullmatch(r"people_[a-z]+\.(.*\D)(\d{13})", base)
    if timed:
        return f"{timed[1]}{timed[2][:7]}"
    framed = re.fullmatch(r"people_[a-z]+\.(.*[A-Za-z].*)-\d+", base)
    return framed[1] if framed else base


RECIPE = Recipe(
    model="rock_paper_scissors",
    load=load,
    size=SIZE,
    channels=3,
    # The same network as cats_vs_dogs, so that its weights fit.
    architecture=Architecture("resnet", stem=32, widths=(64, 128, 256), depths=(1, 2, 2), dropout=0.2),
    augmentation=Augmentation(
        flip=True,
        rotation=25,
        crop=0.35,
        brightness=0.35,
        contrast=0.35,
        saturation=0.6,
        tint=0.2,
        grey=0.15,
        cutmix=0.5,
    ),
    phases=(Phase(12, 96), Phase(8, 112), Phase(6, 112, mix=False)),
    batch_size=64,
    learning_rate=1.5e-3,
    warmup=0.1,
    weight_decay=0.05,
    label_smoothing=0.05,
    average_decay=0.998,
    precision="mixed_bfloat16",
    validation=0.08,
)
