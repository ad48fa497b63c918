"""What a version goes through before it serves: warm at every batch size, warm-up file replayed, scores checked."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from service import examples, protocol, store
from service.engine.batching.batcher import Run, Unjoinable
from service.engine.batching.warmer import Sample, Used, run_sizes, sample_of
from service.engine.classifier import blank, computed
from service.engine.inputs import check_inputs
from service.engine.joining.row_test import one_row
from service.engine.tf.device import DeviceSettings, import_tensorflow
from service.errors import LoadFailed
from service.interface import DEFAULT_SIGNATURE, Array, ImageSize, Signature

# How far a score may be from the one that the trainer recorded. Other processors and kernels round differently;
# a wrong file, a wrong scaling or a broken device differs by far more.
GOLDEN_TOLERANCE: Final = 0.02
# TF Serving's limit of a warm-up file.
_MOST_RECORDS: Final = 1000

Inputs = Mapping[str, Array]


@dataclass(frozen=True, eq=False)
class Asked:
    """A request of a warm-up file: its inputs, and the outputs that it wants."""

    inputs: Inputs
    outputs: tuple[str, ...]


def warm_up(
    devices: Sequence[Run], size: ImageSize, batches: Sequence[int], outputs: tuple[str, ...] = ("scores",)
) -> int:
    """Run an image classifier at every batch size once, so that no request pays for what a first run sets up.

    Args:
        devices: the function on each device.
        size: of its images.
        batches: the batch sizes, the smallest first.
        outputs: that requests will want; `scores` is among them.

    Returns:
        The largest size for which every device has memory.

    Raises:
        DeviceOutOfMemory: not even the smallest fits.
        LoadFailed: it has not one row of scores for each image.
    """
    try:
        return run_sizes(devices, scores(size, outputs), batches)
    except Unjoinable as error:
        raise LoadFailed(f"It needs one row of scores for each image, but {error}.") from error


def replay_file(
    path: Path,
    signatures: Mapping[str, Signature],
    runs: Mapping[str, Run],
    is_classifier: bool,
    times: int,
    device: DeviceSettings,
) -> dict[str, list[Asked]]:
    """Run the requests of a warm-up file, if there is one; see `replay`. Nothing runs where `times` is 0."""
    if not times or not path.is_file():
        return {}
    if is_classifier:
        classifier, signature = runs[DEFAULT_SIGNATURE], signatures[DEFAULT_SIGNATURE]
        # As requests are run: TensorFlow prepares, and keeps, a graph for each set of outputs.
        runs = {**runs, DEFAULT_SIGNATURE: lambda inputs, outputs: classifier(inputs, computed(outputs, signature))}
    records = import_tensorflow(device).data.TFRecordDataset(str(path)).as_numpy_iterator()
    return replay(records, path, signatures, runs, times)


def replay(
    records: Iterable[bytes], path: Path, signatures: Mapping[str, Signature], runs: Mapping[str, Run], times: int
) -> dict[str, list[Asked]]:
    """Run the requests of a warm-up file: Predict, Classify, Regress and MultiInference.

    Args:
        records: serialised PredictionLogs.
        path: the file, for messages.
        signatures: those of the version.
        runs: the function of each.
        times: how often each request runs.

    Returns:
        The requests, by signature.

    Raises:
        LoadFailed: a record is none, or asks for what the version does not have.
    """
    seen: dict[str, list[Asked]] = {}
    for number, record in enumerate(records):
        if number == _MOST_RECORDS:
            raise LoadFailed(f"{path} contains more than {_MOST_RECORDS} requests; keep the most typical ones.")
        try:
            log = protocol.prediction_log_pb2.PredictionLog.FromString(record)
        except Exception as error:  # protobuf's DecodeError
            raise LoadFailed(f"{path} can't be read: record {number} is not a PredictionLog.") from error
        for name, inputs, outputs in _requests(log, path, signatures):
            check_inputs(inputs, signatures[name])
            for _ in range(times):
                runs[name]({**signatures[name].defaults, **inputs}, outputs)
            seen.setdefault(name, []).append(Asked(inputs, outputs))
    return seen


def read_golden(folder: Path) -> tuple[Array, Array] | None:
    """The golden samples of a version, if it has any: uint8 pixels (N, H, W, C), and the scores (N, K) of a trainer."""
    path = folder / store.GOLDEN
    if not path.is_file():
        return None
    with np.load(path, allow_pickle=False) as golden:
        return golden["image"], golden["scores"]


def read_int8_golden(folder: Path) -> Array | None:
    """The scores (N, K) that the trainer saw of the version's int8 form for its golden samples, if it has one."""
    if not ((folder / store.INT8).is_file() and (folder / store.GOLDEN).is_file()):
        return None
    with np.load(folder / store.GOLDEN, allow_pickle=False) as golden:
        return golden["int8_scores"] if "int8_scores" in golden.files else None


def golden_inputs(folder: Path) -> list[Inputs]:
    """The inputs of a version's golden samples, if it has any."""
    golden = read_golden(folder)
    return [] if golden is None else [{"image": golden[0]}]


def drawn(size: ImageSize, rows: int) -> Array:
    """Images of noise: uint8 (rows, H, W, C), the same each time."""
    shape = (rows, size.height, size.width, size.channels)
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def check_golden(folder: Path, runs: Mapping[str, Run], outputs: tuple[str, ...] = ("scores",)) -> None:
    """Compare the scores of a version's golden samples, on this device, with those that the trainer recorded.

    Args:
        folder: of the version.
        runs: the function of each signature.
        outputs: that requests will want; `scores` is among them.

    Raises:
        LoadFailed: they differ.
    """
    golden = read_golden(folder)
    if golden is None:
        return
    pixels, recorded = golden
    scores = runs[DEFAULT_SIGNATURE]({"image": pixels}, outputs)["scores"]
    name = Path(store.GOLDEN).name
    if scores.shape != recorded.shape:
        raise LoadFailed(
            f"{folder}: its scores for {name} have the shape {scores.shape}, the recorded ones {recorded.shape}."
        )
    difference = float(np.abs(scores - recorded).max(initial=0.0))
    if not difference <= GOLDEN_TOLERANCE:
        raise LoadFailed(
            f"{folder}: its scores differ from those recorded in {name} by up to {difference:.3g} "
            f"(at most {GOLDEN_TOLERANCE} is allowed); the files or the device can't be trusted."
        )


def _requests(log: Any, path: Path, signatures: Mapping[str, Signature]) -> list[tuple[str, Inputs, tuple[str, ...]]]:
    """What a log asks for: signatures, their inputs and the outputs wanted."""

    def asked(model_spec: Any) -> str:
        name: str = model_spec.signature_name or DEFAULT_SIGNATURE
        if name not in signatures:
            raise LoadFailed(f"{path} asks for the signature {name!r}; the model has {', '.join(signatures)}.")
        return name

    kind = log.WhichOneof("log_type")
    if kind == "predict_log":
        request = log.predict_log.request
        inputs = {name: protocol.from_tensor_proto(tensor) for name, tensor in request.inputs.items()}
        return [(asked(request.model_spec), inputs, tuple(request.output_filter))]
    if kind in ("classify_log", "regress_log"):
        request = getattr(log, kind).request
        method = examples.CLASSIFY if kind == "classify_log" else examples.REGRESS
        tasks = [(request.model_spec, method)]
    elif kind == "multi_inference_log":
        request = log.multi_inference_log.request
        tasks = [(task.model_spec, task.method_name) for task in request.tasks]
    else:
        raise LoadFailed(
            f"{path} contains a {kind}; warm-up accepts predict, classify, regress and multi_inference logs."
        )
    serialised = {examples.INPUT: examples.read_input(request.input)}
    names = [(asked(model_spec), method) for model_spec, method in tasks]
    return [(name, serialised, examples.outputs_of(signatures[name], method)) for name, method in names]


def scores(size: ImageSize, outputs: tuple[str, ...]) -> Sample:
    """What clients ask of an image classifier; `outputs` are its signature's `image_outputs`."""
    return Sample({"image": blank(size, 1)}, outputs)


def samples(
    name: str, signature: Signature, is_classifier: bool, asked: Sequence[Asked], used: Used
) -> Iterator[Sample]:
    """What requests will ask of a signature: by default, as in the warm-up file, and as they asked other versions.

    Other signatures than the default one are left to their first use, beside the queue, as few clients have one.

    Args:
        name: of the signature.
        signature: its inputs and outputs.
        is_classifier: whether it is the one by which images are classified.
        asked: its requests in the warm-up file.
        used: what requests asked of other versions.
    """
    rows = [each for each in asked if signature.has_rows(each.inputs)]
    for each in rows:
        outputs = computed(each.outputs, signature) if is_classifier else each.outputs
        yield sample_of(each.inputs, outputs)
    if is_classifier and signature.image is not None:
        yield scores(signature.image, signature.image_outputs)
    elif name == DEFAULT_SIGNATURE and (row := one_row(signature, [each.inputs for each in rows])) is not None:
        yield Sample(row, ())
    for sample in used.of(name):  # of another version, whose signature may have been another
        fits = signature.has_rows(sample.row) and set(sample.outputs) <= set(signature.outputs)
        if fits and all(row.dtype == signature.inputs[each].dtype for each, row in sample.row.items()):
            yield sample
