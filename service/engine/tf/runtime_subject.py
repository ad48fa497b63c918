"""A version that TensorFlow has loaded, as other runtimes are tried with it."""

import logging
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from service import store
from service.engine.batching.parameters import BatchingParameters
from service.engine.batching.warmer import Sample
from service.engine.joining.row_test import one_row
from service.engine.runtimes import asked, choice, openvino, xla
from service.engine.runtimes.asked import Wish
from service.engine.runtimes.choice import Trial
from service.engine.runtimes.fitting import Subject
from service.engine.runtimes.part import Opened, Part, numbers, why_not
from service.engine.tf import definition, trial
from service.engine.tf.definition import Definition
from service.engine.tf.device import DeviceSettings, has_gpu, import_tensorflow
from service.engine.tf.saved_model import Loaded
from service.engine.tf.trial import Asked
from service.interface import DEFAULT_SIGNATURE, Array, Signature

log = logging.getLogger(__name__)

# Rows of a middling batch, and of what is drawn.
_ROWS: Final = 8
# In 16 bits scores differ by more.
_COARSE_TOLERANCE: Final = 0.02
# Seconds that a version may take longer to load where XLA is only tried.
_XLA_S: Final = 5.0
_OUTPUT: Final = "signpost_output_"


def make(
    which: tuple[Path, str, int],
    found: Definition,
    loaded: Loaded,
    parameters: BatchingParameters | None,
    device: DeviceSettings,
    *,
    real: Mapping[str, Sequence[Asked]],
    padded: bool,
    wish: Wish,
) -> Subject:
    """Put together what `fitting` has to know of a version.

    Args:
        which: the version's folder, the model's name, the version's number.
        found: what its file says; it has a default signature, which can be run.
        loaded: its functions.
        parameters: how its requests are batched; None runs each by itself.
        device: how TensorFlow uses the device.
        real: the requests of its warm-up file.
        padded: whether only sizes run that ran before.
        wish: how its runtime is found.
    """
    folder, name, version = which
    signature = found.signatures[DEFAULT_SIGNATURE]
    # Of an image classifier more is computed only for who asks for it.
    outputs = numbers(signature) if signature.image is None else signature.image_outputs
    differs = found.why_calls_differ(DEFAULT_SIGNATURE)
    why = why_not(found.signatures, found.operations)
    if not why and DEFAULT_SIGNATURE not in loaded.frozen:
        why = "its variables can't be made constants"
    sizes = _sizes(parameters, padded)
    made = None if why or differs else _trial(folder, signature, outputs, sizes, real, device.mixed_precision)
    threads = device.intra_op_threads or device.threads or len(os.sched_getaffinity(0))
    at_once = 1 if parameters is None else parameters.num_batch_threads

    def cut() -> Part:
        frozen = loaded.frozen[DEFAULT_SIGNATURE]
        ends = frozen.ends[DEFAULT_SIGNATURE]
        fetches = {each: f"{_OUTPUT}{number}" for number, each in enumerate(outputs)}
        wanted = {end: (ends.fetches[each], signature.outputs[each].dtype_name) for each, end in fetches.items()}
        feeds = {each: tensor.removesuffix(":0") for each, tensor in ends.feeds.items()}
        return Part(definition.part(frozen.graph_def, wanted), feeds, fetches)

    def in_openvino(part: Part) -> Opened:
        return openvino.open_model(part, threads=threads, at_once=at_once, bfloat16=device.mixed_precision)

    def in_int8(_: Part) -> Opened:
        return openvino.open_model(folder / store.INT8, threads=threads, at_once=at_once, bfloat16=False)

    def in_xla(part: Part) -> Opened:
        sample = None if made is None else Sample({each: row[:1] for each, row in made.inputs.items()}, outputs)
        return xla.open_part(
            import_tensorflow(device),
            part,
            loaded.open_session,
            sample,
            sizes,
            _XLA_S if wish.runtime == asked.AUTO else math.inf,
        )

    installed = {} if has_gpu() else asked.installed()  # what there is besides TensorFlow computes on the CPU
    openers: dict[str, Callable[[Part], Opened]] = {asked.OPENVINO: in_openvino} if asked.OPENVINO in installed else {}
    own: dict[str, Trial] = {}
    if wish.int8 and made is not None and (int8_scores := trial.read_int8_golden(folder)) is not None:
        if openers:
            openers = {asked.OPENVINO_INT8: in_int8, **openers}
            own[asked.OPENVINO_INT8] = replace(made, recorded={"scores": int8_scores}, scores="", own=True)
        else:
            log.info(
                "%s version %d serves in float: its int8 form needs %s.",
                name, version, "a CPU" if has_gpu() else "OpenVINO (pip install 'signpost-serving[openvino]')",
                extra={"once": f"int8 {name} {version}"},
            )  # fmt: skip
    if padded:
        openers[asked.XLA] = in_xla
    about = {
        **installed,
        "tensorflow": import_tensorflow(device).__version__,
        "threads": threads,
        "inter_op_threads": device.inter_op_threads or device.threads,
        "at_once": at_once,
        "sizes": sizes,
        "mixed_precision": device.mixed_precision,
        "gpu": has_gpu(),
        "tried": tuple(openers),
    }
    return Subject(
        folder=folder,
        name=name,
        version=version,
        signature=signature,
        outputs=outputs,
        why_reference=why,
        why_differs=differs,
        devices=loaded.devices[DEFAULT_SIGNATURE],
        part=cut,
        trial=made,
        openers=openers,
        about=about,
        own=own,
    )


def _sizes(parameters: BatchingParameters | None, padded: bool) -> tuple[int, ...]:
    """Sizes of the batches that will run; where any may, a few of them."""
    if parameters is None:
        return (1,)
    if padded:
        return parameters.with_sizes().sizes()
    return tuple(sorted({1, min(_ROWS, parameters.max_batch_size), parameters.max_batch_size}))


def _trial(
    folder: Path,
    signature: Signature,
    outputs: tuple[str, ...],
    sizes: tuple[int, ...],
    real: Mapping[str, Sequence[Asked]],
    mixed_precision: bool,
) -> Trial | None:
    """What runtimes are tried with: golden samples, a request of the warm-up file, or inputs that are drawn."""
    recorded: Mapping[str, Array] = {}
    inputs: Mapping[str, Array] | None
    if signature.image is None:
        known = [each.inputs for each in real.get(DEFAULT_SIGNATURE, ())]
        inputs = next((each for each in known if signature.has_rows(each)), None) or one_row(signature, known)
    elif (golden := trial.read_golden(folder)) is not None:
        inputs, recorded = {"image": golden[0]}, {"scores": golden[1]}
    else:
        inputs = {"image": trial.drawn(signature.image, _ROWS)}
    if inputs is None:
        return None
    tolerance = _COARSE_TOLERANCE if mixed_precision else choice.TOLERANCE
    scores = "" if signature.image is None else "scores"
    return Trial(inputs, outputs, sizes, recorded, trial.GOLDEN_TOLERANCE, tolerance, scores)
