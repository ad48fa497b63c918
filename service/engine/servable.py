"""A version of a model as TensorFlow runs it; the only importer of TensorFlow.

A signature is frozen (its variables become constants) and run in a session of its own: measured against calling the
function eagerly that takes 0.3 ms instead of 0.5 ms for one small image, is 1.3 times as fast in batches of 32, and
gives its memory back when the session is closed (docs/decisions/0004). What can't be frozen runs eagerly.
"""

import gc
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from service import protocol, store
from service.engine.batching import Batcher, BatchingParameters, Run
from service.engine.inputs import check_call, check_inputs
from service.engine.interface import DEFAULT_SIGNATURE, Answer, Array, Call, Signature, TensorSpec
from service.errors import InvalidRequest, LoadFailed, ModelFailed, SignpostError, Unavailable

log = logging.getLogger(__name__)

# How far a score may be from the one that the trainer recorded. Other processors and kernels round differently;
# a wrong file, a wrong scaling or a broken device differs by far more.
GOLDEN_TOLERANCE: Final = 0.02

_SERVE_TAG: Final = "serve"
_INTERNAL_SIGNATURES: Final = ("__saved_model_init_op", "__saved_model_train_op")
# Operations whose resources or effects freezing would lose.
_NOT_FREEZABLE: Final = ("Assign", "ResourceApply", "ResourceScatter", "HashTable", "MutableHashTable", "LookupTable")


@dataclass(frozen=True)
class DeviceSettings:
    """How TensorFlow uses the device.

    Attributes:
        threads: threads of TensorFlow for one servable; 0 lets TensorFlow choose.
    """

    threads: int = 0


class TensorflowServable:
    """One loaded version; see `service.engine.interface.Servable`. Made by `load`."""

    def __init__(
        self,
        name: str,
        version: int,
        signatures: Mapping[str, Signature],
        runs: Mapping[str, Run],
        parameters: BatchingParameters,
        release: Callable[[], None],
    ) -> None:
        """Put the parts together; `runs` holds a function for each signature."""
        self.name = name
        self.version = version
        self.signatures = signatures
        self.classes: tuple[str, ...] = ()
        self._runs = runs
        self._release = release
        self._batchers = {
            signature_name: Batcher(runs[signature_name], parameters)
            for signature_name, signature in signatures.items()
            if signature.batchable
        }

    @property
    def queued_rows(self) -> int:
        """Rows that wait for a batch now, over all signatures."""
        return sum(batcher.queued_rows for batcher in self._batchers.values())

    def predict(self, inputs: Mapping[str, Array], call: Call) -> Answer:
        """Run a signature; see `Servable.predict`."""
        check_call(self, inputs, call)
        if call.signature_name == DEFAULT_SIGNATURE and self.classes:
            return self._classify(inputs, call)
        return self._run(inputs, call)

    def _classify(self, inputs: Mapping[str, Array], call: Call) -> Answer:
        """The class names are the same for every image: only the scores are computed."""
        scores_only = Call(call.deadline, call.signature_name, ("scores",), call.abandoned)
        answer = self._run(inputs, scores_only)
        wanted = call.outputs or tuple(self.signatures[call.signature_name].outputs)
        if wanted == ("scores",):
            return answer
        names = np.array([name.encode() for name in self.classes], dtype=np.object_)
        outputs = {"scores": answer.outputs["scores"]}
        outputs["classes"] = np.broadcast_to(names, outputs["scores"].shape)  # (N, K)
        return Answer({name: outputs[name] for name in wanted}, answer.queue_s, answer.infer_s, answer.batch_rows)

    def _run(self, inputs: Mapping[str, Array], call: Call) -> Answer:
        batcher = self._batchers.get(call.signature_name)
        if batcher is not None:
            return batcher.submit(inputs, call)
        started_s = time.monotonic()
        outputs = self._runs[call.signature_name](inputs, call.outputs)
        return Answer(outputs, infer_s=time.monotonic() - started_s)

    def close(self) -> None:
        """Fail what waits and give the memory back."""
        for batcher in self._batchers.values():
            batcher.close()
        self._release()
        gc.collect()  # TensorFlow's graphs are cycles of references: only the collector frees them


def load(
    folder: Path, name: str, version: int, parameters: BatchingParameters, device: DeviceSettings
) -> TensorflowServable:
    """Load a version, check its golden samples on this device, and warm it up.

    Args:
        folder: the version's folder, a SavedModel.
        name: the model's name.
        version: the version's number.
        parameters: how its requests are batched.
        device: how TensorFlow uses the device.

    Raises:
        LoadFailed: the folder is no SavedModel that can be served, or gives other scores than were recorded.
    """
    signatures = _read_signatures(folder)
    try:
        runs, release = _make_runs(folder, signatures, device)
        servable = TensorflowServable(name, version, signatures, runs, parameters, release)
    except Exception as error:
        raise LoadFailed(f"{folder} can't be loaded: {_first_line(error)}") from error
    try:
        default = signatures.get(DEFAULT_SIGNATURE)
        if default is not None and default.image is not None:
            servable.classes = _read_classes(runs[DEFAULT_SIGNATURE], default)
            _warm_up(runs[DEFAULT_SIGNATURE], default, parameters)
        _replay_warmup_file(folder, signatures, runs)
        _check_golden(folder, runs)
    except Exception as error:
        servable.close()
        if isinstance(error, LoadFailed):
            raise
        raise LoadFailed(f"{folder} does not run: {_first_line(error)}") from error
    return servable


def _read_signatures(folder: Path) -> dict[str, Signature]:
    saved_model = protocol.saved_model_pb2.SavedModel()
    try:
        saved_model.ParseFromString((folder / store.SAVED_MODEL).read_bytes())
    except OSError as error:
        raise LoadFailed(f"{folder / store.SAVED_MODEL} can't be read: {error.strerror}.") from error
    except Exception as error:  # protobuf's DecodeError
        raise LoadFailed(f"{folder / store.SAVED_MODEL} is no SavedModel: {_first_line(error)}") from error
    graph = next((graph for graph in saved_model.meta_graphs if _SERVE_TAG in graph.meta_info_def.tags), None)
    if graph is None:
        raise LoadFailed(f"{folder} has no graph tagged {_SERVE_TAG!r}; export it for serving.")
    signatures = {
        name: protocol.read_signature(proto)
        for name, proto in sorted(graph.signature_def.items())
        if name not in _INTERNAL_SIGNATURES
    }
    if not signatures:
        raise LoadFailed(f"{folder} has no signature; export it with one named {DEFAULT_SIGNATURE!r}.")
    return signatures


def _make_runs(
    folder: Path, signatures: Mapping[str, Signature], device: DeviceSettings
) -> tuple[dict[str, Run], Callable[[], None]]:
    """A function for each signature, and how to give their memory back."""
    tf = import_tensorflow()
    loaded = tf.saved_model.load(str(folder), tags=[_SERVE_TAG])
    runs: dict[str, Run] = {}
    sessions: list[Any] = []
    eager: list[Any] = []
    for name in signatures:
        function = loaded.signatures[name]
        frozen = _freeze(tf, function, signatures[name])
        if frozen is None:
            eager.append(loaded)
            runs[name] = _eager_run(tf, function)
        else:
            session = _open_session(tf, frozen, device)
            sessions.append(session)
            runs[name] = _session_run(tf, session, function, frozen)

    def release() -> None:
        runs.clear()
        eager.clear()
        for session in sessions:
            session.close()

    return runs, release


def import_tensorflow() -> Any:
    """Import TensorFlow without taking all of a GPU's memory; costs seconds the first time."""
    import tensorflow as tf

    for gpu in tf.config.list_physical_devices("GPU"):
        try:
            tf.config.experimental.set_memory_growth(gpu, True)
        except RuntimeError:  # the device is in use already, in which case this was done before
            break
    if not gc.get_freeze_count():
        # Half a million objects of TensorFlow's that live as long as the process: a collection that visits them all
        # stops every thread for a tenth of a second.
        gc.collect()
        gc.freeze()
    return tf


def _freeze(tf: Any, function: Any, signature: Signature) -> Any | None:
    """The signature's function with its variables as constants, or None where that would change what it does."""
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    graph_def = function.graph.as_graph_def()
    nodes = [*graph_def.node, *(node for f in graph_def.library.function for node in f.node_def)]
    if any(node.op.startswith(_NOT_FREEZABLE) for node in nodes):
        return None
    try:
        frozen = convert_variables_to_constants_v2(function)
    except Exception as error:
        log.info("Running eagerly what can't be frozen: %s", _first_line(error))
        return None
    if len(frozen.inputs) != len(signature.inputs) or any(t.dtype == tf.resource for t in frozen.inputs):
        return None
    return frozen


def _open_session(tf: Any, frozen: Any, device: DeviceSettings) -> Any:
    graph = tf.Graph()
    with graph.as_default():
        tf.graph_util.import_graph_def(frozen.graph.as_graph_def(), name="")
    config = tf.compat.v1.ConfigProto(
        intra_op_parallelism_threads=device.threads, inter_op_parallelism_threads=device.threads
    )
    config.gpu_options.allow_growth = True
    return tf.compat.v1.Session(graph=graph, config=config)


def _session_run(tf: Any, session: Any, function: Any, frozen: Any) -> Run:
    input_names = _input_names(function)
    feeds = [tensor.name for tensor in frozen.inputs]
    fetches = dict(zip(sorted(function.structured_outputs), (t.name for t in frozen.outputs), strict=True))
    callables: dict[tuple[str, ...], Callable[..., list[Array]]] = {}

    def run(inputs: Mapping[str, Array], outputs: tuple[str, ...]) -> Mapping[str, Array]:
        wanted = outputs or tuple(fetches)
        # Two threads may both make the first one; either works.
        made = callables.get(wanted)
        if made is None:
            made = callables[wanted] = session.make_callable([fetches[name] for name in wanted], feed_list=feeds)
        try:
            arrays = made(*(inputs[name] for name in input_names))
        except (tf.errors.OpError, ValueError, TypeError) as error:
            raise _translated(tf, error) from error
        return dict(zip(wanted, map(np.asarray, arrays), strict=True))

    return run


def _eager_run(tf: Any, function: Any) -> Run:
    def run(inputs: Mapping[str, Array], outputs: tuple[str, ...]) -> Mapping[str, Array]:
        try:
            results = function(**{name: tf.constant(array) for name, array in inputs.items()})
            return {name: results[name].numpy() for name in outputs or results}
        except (tf.errors.OpError, ValueError, TypeError) as error:
            raise _translated(tf, error) from error

    return run


def _input_names(function: Any) -> list[str]:
    """Names of a signature's inputs in the order of its function's inputs."""
    keywords = getattr(function, "_arg_keywords", None)
    return list(keywords) if keywords else sorted(function.structured_input_signature[1])


def _translated(tf: Any, error: Exception) -> SignpostError:
    """TensorFlow's error in ours: what the input causes is the client's, what the device lacks is a wait."""
    if isinstance(error, tf.errors.InvalidArgumentError | tf.errors.OutOfRangeError | ValueError | TypeError):
        return InvalidRequest(f"The model does not take this input: {_first_line(error)}")
    if isinstance(error, tf.errors.ResourceExhaustedError):
        return Unavailable("The device is out of memory; send fewer instances at once, or try again.")
    return ModelFailed(f"The model failed: {_first_line(error)}")


def _read_classes(run: Run, signature: Signature) -> tuple[str, ...]:
    outputs = run({"image": _blank(signature.inputs["image"], 1)}, ("classes", "scores"))
    classes, scores = outputs["classes"], outputs["scores"]
    if classes.shape != scores.shape or classes.ndim != 2:
        raise LoadFailed(f"'classes' has the shape {classes.shape} and 'scores' {scores.shape}; both must be (N, K).")
    names = tuple(name.decode(errors="replace") for name in classes[0])
    if len(set(names)) != len(names):
        raise LoadFailed(f"The class names are not unique: {', '.join(names)}.")
    return names


def _warm_up(run: Run, signature: Signature, parameters: BatchingParameters) -> None:
    """Run every batch size once, so that no request pays for what a first run sets up."""
    for size in parameters.sizes():
        run({"image": _blank(signature.inputs["image"], size)}, ("scores",))


def _blank(spec: TensorSpec, rows: int) -> Array:
    return np.zeros((rows, *(spec.shape or ())[1:]), dtype=np.uint8)


def _replay_warmup_file(folder: Path, signatures: Mapping[str, Signature], runs: Mapping[str, Run]) -> None:
    path = folder / store.WARMUP
    if not path.is_file():
        return
    tf = import_tensorflow()
    for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
        request = protocol.prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
        if not request.inputs:  # a log of another kind than predict
            continue
        name = request.model_spec.signature_name or DEFAULT_SIGNATURE
        if name not in signatures:
            raise LoadFailed(f"{path} asks for the signature {name!r}; the model has {', '.join(signatures)}.")
        inputs = {name: protocol.from_tensor_proto(tensor) for name, tensor in request.inputs.items()}
        check_inputs(inputs, signatures[name])
        runs[name](inputs, ())


def _check_golden(folder: Path, runs: Mapping[str, Run]) -> None:
    path = folder / store.GOLDEN
    if not path.is_file():
        return
    with np.load(path, allow_pickle=False) as golden:
        pixels, recorded = golden["image"], golden["scores"]  # (N, H, W, C), (N, K)
    scores = runs[DEFAULT_SIGNATURE]({"image": pixels}, ("scores",))["scores"]
    if scores.shape != recorded.shape:
        raise LoadFailed(f"{folder}: {scores.shape} scores for {path.name}, which recorded {recorded.shape}.")
    difference = float(np.abs(scores - recorded).max(initial=0.0))
    if not difference <= GOLDEN_TOLERANCE:
        raise LoadFailed(
            f"{folder}: its scores differ from those recorded in {path.name} by up to {difference:.3g} "
            f"(at most {GOLDEN_TOLERANCE} is allowed); the files or the device can't be trusted."
        )


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if lines and lines[0] == "Graph execution error:":
        # TensorFlow tells first where in the graph it happened, then what, then once more where.
        where = next((n for n, line in enumerate(lines) if line.startswith("[[{{node")), len(lines))
        lines = lines[where - 1 :]
    return lines[0] if lines else type(error).__name__
