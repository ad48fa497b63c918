"""What a trained network knows and what not: its features, and the domain that is fitted to them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import keras
import numpy as np
import numpy.typing as npt

from training.data.augmentation import augment
from training.data.batches import plain_batches
from training.data.datasets import Data, Dataset
from training.recipe import Recipe
from training.strangers.domain import PASSING, Domain, Features, auroc, fit_domain
from training.strangers.outsiders import Outsiders

LAST: Final = "logits"
THRESHOLD: Final = 0.5
_OWN: Final = 2500  # images to learn the domain from, and once more so many as they are augmented
_FEWEST: Final = 20  # validation images, to find the bound


@dataclass(frozen=True, eq=False)
class Known:
    """How well a network knows images, each 0 to 1.

    Attributes:
        test: its test images, (N,).
        validation: its validation images.
        outsiders: images of other things that nothing was fitted to, by kind.
    """

    test: npt.NDArray[np.float32]
    validation: npt.NDArray[np.float32]
    outsiders: Mapping[str, npt.NDArray[np.float32]]


def with_features(network: keras.Model) -> keras.Model:
    """The network with a second output: the features (N, F) that its last layer turns into logits (N, K)."""
    return keras.Model(network.inputs[0], [network.outputs[0], network.get_layer(LAST).input])


def features_of(network: keras.Model, data: Dataset, size: tuple[int, int]) -> Features:
    """The features of all images: float32 (N, F)."""
    both = with_features(network)
    found = [np.asarray(both.predict_on_batch(images)[1], dtype=np.float32) for images, _ in plain_batches(data, size)]
    return np.concatenate(found) if found else np.zeros((0, network.get_layer(LAST).input.shape[-1]), np.float32)


def learn_domain(
    recipe: Recipe, network: keras.Model, train: Dataset, validation: Dataset, outsiders: Outsiders, seed: int
) -> Domain:
    """Find what tells a network's own images from outsiders.

    Args:
        recipe: its augmentation and size.
        network: trained.
        train: the images that it learned from; without enough validation images they set the bound too.
        validation: other images of its classes.
        outsiders: images of other things.
        seed: which of the images are taken.
    """
    rng = np.random.default_rng(seed)
    some = train.subset(rng.permutation(len(train))[:_OWN])
    both = with_features(network)
    own = [features_of(network, some, recipe.size)]
    for images, _ in plain_batches(some, some.shape[:2]):
        varied = augment(images, recipe.size, recipe.augmentation, rng)
        own.append(np.asarray(both.predict_on_batch(varied)[1], dtype=np.float32))
    judged = features_of(network, validation, recipe.size) if len(validation) >= _FEWEST else own[0]
    others, kinds = features_of(network, outsiders.train, recipe.size), outsiders.train.targets()
    return fit_domain(np.concatenate(own), judged, others, kinds, seed)


def judge_domain(
    domain: Domain, recipe: Recipe, network: keras.Model, test: Dataset, validation: Dataset, outsiders: Outsiders
) -> Known:
    """How well the network knows its test images, its validation images and outsiders that it was not fitted to."""
    told = domain.tell(features_of(network, outsiders.test, recipe.size))
    kinds = outsiders.test.targets()
    return Known(
        domain.tell(features_of(network, test, recipe.size)),
        domain.tell(features_of(network, validation, recipe.size)),
        {name: told[kinds == kind] for kind, name in enumerate(outsiders.test.classes)},
    )


def about_domain(known: Known, data: Data) -> dict[str, Any]:
    """The domain's part of the model card."""
    others = np.concatenate(list(known.outsiders.values()))
    return {
        "threshold": THRESHOLD,
        "validation_wanted": PASSING,
        "validation_passing": passing(known.validation),
        "test_passing": passing(known.test),
        "groups_passing": {group: passing(known.test[at]) for group, at in data.groups.items()},
        "auroc": round(auroc(known.test, others), 4),
        "outsiders": {
            kind: {"images": len(told), "passing": passing(told), "auroc": round(auroc(known.test, told), 4)}
            for kind, told in known.outsiders.items()
        },
    }


def passing(told: npt.NDArray[np.float32]) -> float | None:
    """The share of the images that are in the domain; None without images."""
    return round(float((told >= THRESHOLD).mean()), 4) if len(told) else None
