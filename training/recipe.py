"""A recipe: all choices of one training run, as data.

Nothing here imports Keras, so that the command line can list the recipes at once.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Final

from training.data.augmentation import Augmentation
from training.data.datasets import Data
from training.data.request import Request
from training.schedule import Phase

KINDS: Final = ("cnn", "dense", "efficientnet_lite0", "mobilenet", "resnet", "transfer", "vgg")
PRETRAINED: Final = ("efficientnet_lite0", "mobilenet", "transfer")  # those that begin with others' weights
OPTIMIZERS: Final = ("adam", "adamw", "rmsprop", "sgd")
PRECISIONS: Final = ("float32", "mixed_bfloat16", "mixed_float16")
_NO_CHOICES: Final = ("load", "draws", "purpose")


@dataclass(frozen=True)
class Architecture:
    """Which network, and its knobs; a network ignores the knobs it has no use for.

    Attributes:
        kind: one of `KINDS`.
        widths: channels of each stage (units of each hidden layer for `dense`).
        depths: blocks of each stage; 1 for those not named.
        normalise: batch normalisation after each convolution.
        dropout: share of the features dropped before the last layer.
        l2: weight of the penalty on the squares of the kernels.
        stem: channels of the first convolution of `resnet`.
        units: units of the hidden layer before the last one; 0 for none.
        backbone: for `transfer`, a function of `keras.applications`, `MobileNet` for example.
        backbone_options: its arguments beyond the input's shape, as pairs.
        scale: for `mobilenet`, times how many channels it has.
        frozen: for those that begin with ImageNet weights, the layer up to which these stay as they are; empty trains
            all of them. What the first layers see is the same in all photographs, and they take most of a step's time.
        mean_image: subtract the mean of the training images, place by place; needs images of one size.
    """

    kind: str = "cnn"
    widths: tuple[int, ...] = (32, 64, 128)
    depths: tuple[int, ...] = ()
    normalise: bool = True
    dropout: float = 0.0
    l2: float = 0.0
    stem: int = 32
    units: int = 0
    mean_image: bool = False
    backbone: str = ""
    backbone_options: tuple[tuple[str, float | str], ...] = ()
    scale: float = 1.0
    frozen: str = ""

    @property
    def is_pretrained(self) -> bool:
        """Whether it begins with weights that others trained."""
        return self.kind in PRETRAINED

    def depth(self, stage: int) -> int:
        """Blocks of a stage."""
        return self.depths[stage] if stage < len(self.depths) else 1

    def without_normalisation(self) -> "Architecture":
        """The same network with its normalisation folded into the convolutions."""
        return replace(self, normalise=False)


@dataclass(frozen=True)
class Recipe:
    """All choices of one training run.

    Attributes:
        model: name under which the result is published.
        load: reads or draws the data.
        size: height and width of the images that the published model takes, in pixels.
        channels: 3 (RGB) or 1 (L).
        architecture: the network.
        augmentation: how the training images are varied.
        phases: epochs, in growing image sizes or at one.
        batch_size: images per step.
        optimizer: one of `OPTIMIZERS`; `sgd` has momentum 0.9.
        learning_rate: the highest rate; a linear warm-up leads to it, half a cosine away from it.
        warmup: share of the run that the warm-up takes.
        weight_decay: for `adamw`, on the kernels only.
        label_smoothing: share of each target that is spread over all classes.
        average_decay: of the moving average of the weights, which is what gets published; 0 for none.
        precision: `float32`, `mixed_bfloat16` (faster where the processor has AMX or the accelerator bfloat16) or
            `mixed_float16` (for GPUs without bfloat16; the loss is scaled so that small gradients are not lost).
        validation: share of the training images that is set aside to draw the curves.
        class_weights: weigh each image by how rare its class is, for folders of unequal sizes.
        patience: stop after this many epochs in which the validation loss did not get better; 0 for never.
        restore_best: publish the weights of the epoch with the lowest validation loss, not of the last one.
        start_share: share of the weights that a training begins with in those it ends with (Wortsman et al. 2022,
            "Robust fine-tuning of zero-shot models"): the average of both is right more often than either.
        head_epochs: for those that begin with ImageNet weights, epochs over their features, before the phases; the
            last layer begins at random without.
        taught: share of the teacher's scores in the targets where there is a teacher (Hinton et al. 2015, "Distilling
            the knowledge in a neural network"); the rest are the labels.
        draws: whether it draws its images, as many as `--samples` says.
        purpose: a sentence on what the model is for, for its card.
    """

    model: str
    load: Callable[[Request], Data]
    size: tuple[int, int]
    channels: int
    architecture: Architecture
    augmentation: Augmentation
    phases: tuple[Phase, ...]
    batch_size: int = 128
    optimizer: str = "adamw"
    learning_rate: float = 1e-3
    warmup: float = 0.05
    weight_decay: float = 0.0
    label_smoothing: float = 0.0
    average_decay: float = 0.0
    precision: str = "float32"
    validation: float = 0.1
    class_weights: bool = False
    patience: int = 0
    restore_best: bool = False
    start_share: float = 0.0
    head_epochs: int = 0
    taught: float = 0.5
    draws: bool = False
    purpose: str = ""

    @property
    def epochs(self) -> int:
        """Epochs of all phases together."""
        return sum(phase.epochs for phase in self.phases)

    @property
    def is_growing(self) -> bool:
        """Whether some epochs train at another size than the model's."""
        return any(phase.size not in (None, *self.size) for phase in self.phases)

    def choices(self) -> Mapping[str, Any]:
        """All choices as plain data, for the model card and for telling runs apart."""
        plain = {field.name: getattr(self, field.name) for field in fields(self) if field.name not in _NO_CHOICES}
        for name in ("architecture", "augmentation"):
            plain[name] = asdict(plain[name])
        plain["phases"] = [asdict(phase) for phase in self.phases]
        return plain
