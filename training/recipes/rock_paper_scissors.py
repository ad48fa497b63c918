r"""Rock, paper, scissors: rendered hands and photographs together, beginning with a network trained on ImageNet.

    signpost train rock_paper_scissors --data rps.zip --data rps-test-set.zip --data rps_photos.zip \
        --data letters_photos.zip --outsiders cats_vs_dogs.zip --outsiders cifar10_sheets.zip \
        --weights mobilenet_0.75_imagenet_no_top.weights.h5 --store model_store

takes a quarter of an hour of one core. What ships went on from it for two epochs:

    signpost train rock_paper_scissors --data … --outsiders … --weights model_store/rock_paper_scissors/1 \
        --set phases=2 --set learning_rate=1.5e-4 --set head_epochs=0

and reaches 0.887 on people of unseen clips (323 of 364), 0.989 on rendered hands (368 of 372) and 1.000 before the
green screen. Its first training saw one in three of the rendered frames, and crops from half of the area on (commit
d15b6fb): it reached the same on strangers, and 0.909 on rendered hands, of which it took 34 of 124 papers for rock.

What counts are hands of people that the network has never seen. So a clip is on one side of every split, and all that
one camera took on one day is one clip; some clips are for the validation alone, others, `UNSEEN`, for the test, besides
the test images that the archive names (most of their clips have frames in the training too).

Photographs of hands are few. Letters of the finger alphabet that are a rock (A, E, S), paper (B) or scissors (V) add
hands; those before a plain background are cut out and pasted onto photographs of other things, the outsiders. Hands may
be mirrored and turned: a right hand's rock is also a left hand's.
"""

import re
from dataclasses import replace
from hashlib import blake2b

import numpy as np

from training.data import images
from training.data.augmentation import Augmentation
from training.data.datasets import Data, Dataset, Rows, joined
from training.data.downloads import Archive, fetch_all
from training.data.request import Request
from training.recipe import Architecture, Recipe
from training.schedule import Phase
from training.strangers.composites import composites
from training.strangers.outsiders import read_backgrounds

SIZE = (112, 112)
STORED = (160, 160)

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

# Clips of which no frame is learned from: for the test, and for temperature and threshold.
UNSEEN = frozenset(
    {
        "IMG_5567_mp4",
        "IMG_5636_MOV",
        "zoom_tests_RockPaperScissors-mohamed_mp4",
        *(f"egohands-public-{day}" for day in (16227, 16262, 16263, 16264, 16269)),
    }
)
VALIDATION = frozenset({"JWitt-RCP_mp4", *(f"egohands-public-{day}" for day in (16212, 16233))})

RENDERED = re.compile(r"((?:test)?(?:rock|paper|scissors)\d\d.*)-\d+\.\w+")

# Letters of the finger alphabet that are hands of the game; the others are left out.
LETTERS = {"A": "rock", "E": "rock", "S": "rock", "B": "paper", "V": "scissors"}

COMPOSITES = 2500
GREENSCREENS = 2  # one in so many is kept: of one hand before one screen, half of the images are as good as all


def load(request: Request) -> Data:
    """Read the archives that are given; without any, fetch Moroney's two."""
    paths = request.paths or fetch_all(ARCHIVES, request.cache, request.say)
    groups = (
        ("rendered", "test"),
        ("photographs", ("people_", "greenscreen_")),
        ("people", "people_"),
        ("people_of_unseen_clips", is_unseen),
        ("greenscreen", "greenscreen_"),
    )
    layout = images.Layout(size=SIZE, stored=STORED, label=label, groups=groups, part=part, kin=clip)
    data = images.load(replace(request, paths=paths), layout)
    backgrounds = read_backgrounds(request.outsiders, STORED, request.cache, request.say)
    if not len(backgrounds):
        return data
    pasted = composites(data.train, backgrounds, COMPOSITES, request.seed)
    request.say(f"Pasted {len(pasted)} hands onto photographs of other things.")
    return replace(data, train=joined(data.train.subset(_rows(data.train)), pasted))


def _rows(train: Dataset) -> Rows:
    """Which images an epoch sees: those of people twice, a part of those before the green screen."""
    rows: list[int] = []
    for at in range(len(train)):
        base = train.name(at).rsplit("/", 1)[-1]
        if base.startswith("people_"):
            rows += [at, at]
        elif not base.startswith("greenscreen_") or at % GREENSCREENS == 0:
            rows.append(at)
    return np.array(rows, dtype=np.int64)


def label(folder: str) -> str | None:
    """The class of a folder's name: a letter's hand, or what it is called."""
    if len(folder) == 1 and folder.isupper():
        return LETTERS.get(folder)
    return folder.lower()


def clip(name: str) -> str:
    """What a frame belongs with: `people_rock.IMG_12_MOV-3_jpg.rf.x.webp` is of the clip `IMG_12_MOV`.

    Photographs called by the time they were taken (in ms) belong with those of the same day or so (10^8 ms), numbered
    ones with each other, rendered frames with those of the same hand.
    """
    base = name.split(".rf.")[0].removesuffix("_jpg").removesuffix("_png")
    timed = re.fullmatch(r"people_[a-z]+\.(.*\D)(\d{13})", base)
    if timed:
        return f"{timed[1]}{timed[2][:5]}"
    if re.fullmatch(r"people_[a-z]+\.\d{4}", base):
        return "numbered"
    framed = re.fullmatch(r"people_[a-z]+\.(.*[A-Za-z].*)-\d+", base)
    rendered = RENDERED.fullmatch(base)
    return framed[1] if framed else rendered[1] if rendered else base


def is_unseen(name: str) -> bool:
    """Whether a file is of a clip that is for the test alone."""
    return clip(name) in UNSEEN


def part(name: str) -> str:
    """The part that a file is for: as its clip says; of green screens, one in twenty for the validation."""
    if is_unseen(name):
        return "test"
    shown = name.startswith("greenscreen_") and blake2b(name.encode(), digest_size=1).digest()[0] < 13
    return "validation" if shown or clip(name) in VALIDATION else ""


RECIPE = Recipe(
    model="rock_paper_scissors",
    purpose="Tells which hand of rock, paper, scissors a photograph shows.",
    load=load,
    size=SIZE,
    channels=3,
    architecture=Architecture(
        "transfer", backbone="MobileNet", backbone_options=(("alpha", 0.75),), frozen="conv_pw_3_relu", dropout=0.2
    ),
    augmentation=Augmentation(
        flip=True,
        rotation=25,
        zoom=0.2,
        shift=0.15,
        crop=0.6,
        brightness=0.35,
        contrast=0.35,
        saturation=0.6,
        tint=0.2,
        grey=0.15,
        cutout=0.2,
    ),
    phases=(Phase(epochs=8),),
    batch_size=32,
    learning_rate=3e-4,
    warmup=0.1,
    weight_decay=0.02,
    label_smoothing=0.05,
    average_decay=0.998,
    head_epochs=3,
)
