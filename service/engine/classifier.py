"""What is special about an image classifier, for local and remote servables alike: its classes never change.

They are read once, and afterwards only the scores are computed, or asked for.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from service.errors import ModelFailed, SignpostError
from service.interface import IN_DOMAIN, Answer, Array, Call, ImageSize, Signature

_OUTPUTS = frozenset({"scores", "classes"})


def blank(size: ImageSize, rows: int) -> Array:
    """Black images: uint8 zeros (rows, H, W, C)."""
    return np.zeros((rows, size.height, size.width, size.channels), dtype=np.uint8)


def read_classes(outputs: Mapping[str, Array]) -> tuple[str, ...]:
    """The class names, from the answer to any image.

    Args:
        outputs: `classes` and `scores`, both (N, K).

    Raises:
        ModelFailed: they do not have the form of a classifier's.
    """
    classes, scores = outputs["classes"], outputs["scores"]
    if classes.shape != scores.shape or classes.ndim != 2:
        raise ModelFailed(
            f"'classes' has the shape {list(classes.shape)} and 'scores' {list(scores.shape)}; both must be (N, K)."
        )
    names = tuple(name.decode(errors="backslashreplace") for name in classes[0])  # so that they stay unique
    if len(set(names)) != len(names):
        raise ModelFailed(f"The class names are not unique: {', '.join(names)}.")
    return names


def computed(outputs: tuple[str, ...], signature: Signature) -> tuple[str, ...]:
    """The outputs that are computed for a request: `image_outputs`, where it wants nothing else but the names.

    Args:
        outputs: those that the request names; empty for all.
        signature: of the classifier.
    """
    return signature.image_outputs if _usual(outputs, signature) else outputs


def check_scores(outcome: Answer | SignpostError, images: int) -> Answer | SignpostError:
    """The outcome of scoring images, or an error where the model did not give one row of scores for each."""
    if isinstance(outcome, Answer):
        for name, array in outcome.outputs.items():
            if len(array) != images:
                return ModelFailed(
                    f"The model returned {len(array)} rows of {name} for {images} images; it must return one per image."
                )
    return outcome


def classify(
    run: Callable[[Call], Answer], call: Call, signature: Signature, classes: tuple[str, ...], images: int
) -> Answer:
    """Answer a call from its scores and the names that are known.

    Args:
        run: runs the request with another call, one that asks for fewer outputs.
        call: the request's own.
        signature: of the classifier.
        classes: its class names.
        images: how many the request has.

    Raises:
        ModelFailed: it did not give one row of scores for each image.
    """
    answer = run(replace(call, outputs=computed(call.outputs, signature)))
    if not _usual(call.outputs, signature):
        return answer
    checked = check_scores(answer, images)
    if isinstance(checked, SignpostError):
        raise checked
    wanted = call.outputs or tuple(signature.outputs)
    scores = answer.outputs["scores"]
    outputs = dict(answer.outputs)
    if "classes" in wanted:
        names = np.array([name.encode() for name in classes], dtype=np.object_)
        outputs["classes"] = np.broadcast_to(names, scores.shape)  # (N, K)
    return replace(answer, outputs={name: outputs[name] for name in wanted})


def _usual(outputs: tuple[str, ...], signature: Signature) -> bool:
    """Whether a request wants nothing that a classifier need not give."""
    known = _OUTPUTS | {IN_DOMAIN} if signature.tells_strangers else _OUTPUTS
    return known.issuperset(outputs or signature.outputs)
