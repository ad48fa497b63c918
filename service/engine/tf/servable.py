"""A version of a model as TensorFlow runs it: its signatures, batched, behind the interface of a servable."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Final

from service import store
from service.engine.batched_servable import BATCHING_IS_OFF, NOT_OPEN, BatchedServable, Stopped
from service.engine.batching.batcher import Batcher, Run
from service.engine.batching.parameters import BatchingParameters
from service.engine.classifier import blank, computed, read_classes
from service.engine.inputs import unfit_shape
from service.engine.joining.recheck import Recheck
from service.engine.joining.row_test import why_not_joined
from service.engine.joining.shape_judge import ShapeJudge
from service.engine.tf import definition, errors, saved_model, trial
from service.engine.tf.definition import Definition
from service.engine.tf.device import DeviceSettings, give_memory_back, has_gpu, import_tensorflow
from service.engine.tf.saved_model import Loaded
from service.errors import InvalidRequest, LoadFailed, ModelFailed
from service.interface import DEFAULT_SIGNATURE, Answer, Array, Call, Signature

SERVE_TAG: Final = "serve"

# How far numbers may differ that are the same but for rounding, as a share of the largest: other sizes of batches are
# computed by other kernels. In 16 bits, and in those of TF32 on a GPU, they round more coarsely.
_TOLERANCE: Final = 1e-4
_COARSE_TOLERANCE: Final = 0.02


class TensorflowServable(BatchedServable):
    """One loaded version; see `service.interface.Servable`. Made by `load`.

    Args:
        name: the model's name.
        version: the version's number.
        signatures: by name.
        runs: a function for each.
        parameters: how requests are batched; None runs each by itself.
        release: gives the memory back.
        unjoined: why requests of a signature are not joined, by its name.
        tolerance: see `row_test.rounding`.
        judges: for each signature that takes other shapes than it declares, what judges those.
        stopped: told of each signature whose requests are not joined any more.
    """

    def __init__(
        self,
        name: str,
        version: int,
        signatures: Mapping[str, Signature],
        runs: Mapping[str, Run],
        parameters: BatchingParameters | None,
        release: Callable[[], None],
        unjoined: Mapping[str, str],
        tolerance: float = _TOLERANCE,
        judges: Mapping[str, ShapeJudge] = MappingProxyType({}),
        stopped: Stopped = lambda *_: None,
    ) -> None:
        """Put the parts together."""
        super().__init__(name, version, signatures, unjoined, stopped)
        self._judges = judges
        self._runs = runs
        self._release = release
        self._rechecks: list[Recheck] = []
        if parameters is not None:
            self.batchers = {
                each: self._batcher(each, parameters, tolerance) for each in signatures if each not in unjoined
            }

    def _batcher(self, signature_name: str, parameters: BatchingParameters, tolerance: float) -> Batcher:
        run = self._runs[signature_name]
        if not parameters.row_test:  # joined as asked for, whatever comes of it
            return Batcher(run, parameters)
        stop = partial(self.stop_joining, signature_name)
        eager = self.signatures[signature_name].image is None  # what only the row test has shown
        recheck = Recheck(run, parameters.recheck_share, tolerance, stop, eager)
        self._rechecks.append(recheck)
        return Batcher(run, parameters, joined=recheck.note if parameters.recheck_share else None, unjoinable=stop)

    def run_alone(self, inputs: Mapping[str, Array], call: Call) -> Answer:
        """Run a call by itself."""
        signature = self.signatures[call.signature_name]
        inputs = {**signature.defaults, **inputs}
        started_s = time.monotonic()
        unfit = unfit_shape(inputs, signature)
        if unfit and (reason := self._why_not_taken(inputs, call.signature_name)):
            raise InvalidRequest(f"{unfit} The graph refuses it: {reason}.")
        try:
            outputs = self._runs[call.signature_name](inputs, call.outputs)
        except InvalidRequest as error:
            if not unfit:
                raise
            raise type(error)(f"{unfit} {error}") from error
        rows = len(next(iter(inputs.values()))) if signature.batchable and signature.has_rows(inputs) else 1
        return Answer(outputs, infer_s=time.monotonic() - started_s, batch_rows=rows)

    def _run(self, inputs: Mapping[str, Array], call: Call) -> Answer:
        try:
            return super()._run(inputs, call)
        except ModelFailed as error:
            # Some operations fail on shapes that they can't take as if it were their own fault.
            if reason := self._why_not_taken(inputs, call.signature_name):
                raise InvalidRequest(f"The model does not take this input: {reason}.") from error
            raise

    def _why_not_taken(self, inputs: Mapping[str, Array], signature_name: str) -> str:
        judge = self._judges.get(signature_name)
        defaults = self.signatures[signature_name].defaults
        return "" if judge is None else judge.why_not({name: a.shape for name, a in {**defaults, **inputs}.items()})

    def limit_batches(self, rows: int) -> None:
        """Make no batch larger than the device has memory for."""
        for batcher in self.batchers.values():
            batcher.limit(rows)

    def close(self) -> None:
        """Fail what waits and give the memory back."""
        super().close()
        for recheck in self._rechecks:
            recheck.close()
        self._release()
        give_memory_back()


def load(
    folder: Path,
    name: str,
    version: int,
    parameters: BatchingParameters | None,
    device: DeviceSettings,
    warm_up_times: int = 1,
    tags: Iterable[str] = (SERVE_TAG,),
    stopped: Stopped = lambda *_: None,
) -> TensorflowServable:
    """Load a version, check its golden samples on this device, warm it up, and test which requests may be joined.

    Args:
        folder: the version's folder, a SavedModel.
        name: the model's name.
        version: the version's number.
        parameters: how its requests are batched; None runs each by itself.
        device: how TensorFlow uses the device.
        warm_up_times: how often each request of its warm-up file runs; 0 leaves the file alone.
        tags: those of the graph to serve.
        stopped: told of each signature whose requests are not joined any more.

    Raises:
        LoadFailed: the folder is not a SavedModel that can be served, or gives other scores than were recorded.
    """
    found = definition.read(folder, tags)
    default = found.signatures.get(DEFAULT_SIGNATURE)
    size = None if default is None or found.why_not_run(DEFAULT_SIGNATURE) else default.image
    try:
        loaded = saved_model.load(folder, found, device)
        if parameters is not None:  # a batch for each device at the same time
            parameters = replace(parameters, num_batch_threads=max(parameters.num_batch_threads, loaded.copies))
    except Exception as error:
        raise LoadFailed(f"{folder} can't be loaded: {errors.first_line(error)}") from error
    try:
        runs = loaded.runs
        classes = () if size is None else read_classes(loaded.drafts[DEFAULT_SIGNATURE]({"image": blank(size, 1)}, ()))
        largest = None
        wanted = ("scores",) if default is None or size is None else default.image_outputs
        if size is not None:
            sizes = parameters.sizes(few=not has_gpu()) if parameters is not None else (1,)
            largest = trial.warm_up(runs[DEFAULT_SIGNATURE], size, sizes, loaded.copies, wanted)
        real = _replay_warmup_file(folder / store.WARMUP, found.signatures, runs, bool(classes), warm_up_times, device)
        for _ in range(loaded.copies):  # each call goes to the next device
            trial.check_golden(folder, runs, wanted)
        tolerance = _COARSE_TOLERANCE if device.mixed_precision or has_gpu() else _TOLERANCE
        unjoined = _find_unjoined(folder, found, loaded, parameters, real, tolerance)
        loaded.settle()
        servable = TensorflowServable(
            name, version, found.signatures, runs, parameters, loaded.release, unjoined, tolerance,
            _judges(found, loaded, device), stopped,
        )  # fmt: skip
        servable.classes = classes
        if largest is not None and largest < max(sizes):
            servable.limit_batches(largest)
    except Exception as error:
        loaded.release()
        give_memory_back()
        if isinstance(error, LoadFailed):
            raise
        raise LoadFailed(f"{folder} does not run: {errors.first_line(error)}") from error
    give_memory_back()
    return servable


def _judges(found: Definition, loaded: Loaded, device: DeviceSettings) -> dict[str, ShapeJudge]:
    tf = import_tensorflow(device)
    return {
        name: ShapeJudge(tf, outline, found.signatures[name])
        for name, outline in found.outlines.items()
        if name not in loaded.refused
    }


def _find_unjoined(
    folder: Path,
    found: Definition,
    loaded: Loaded,
    parameters: BatchingParameters | None,
    real: Mapping[str, Sequence[Mapping[str, Array]]],
    tolerance: float,
) -> dict[str, str]:
    """Why requests of a signature are not to be joined, for each of which they are not."""
    unjoined: dict[str, str] = {}
    golden = trial.golden_inputs(folder)
    for name, signature in found.signatures.items():
        if name in loaded.refused:
            unjoined[name] = f"it can't be run: {loaded.refused[name]}"
        elif parameters is None:
            unjoined[name] = BATCHING_IS_OFF
        elif not signature.batchable:
            unjoined[name] = NOT_OPEN
        elif parameters.row_test and signature.image is None:
            known = [*real.get(name, ()), *(each for each in golden if each.keys() == signature.inputs.keys())]
            reason = found.why_calls_differ(name) or why_not_joined(
                loaded.trials[name], signature, known, tolerance, parameters.max_batch_size
            )
            if reason:
                unjoined[name] = reason
    return unjoined


def _replay_warmup_file(
    path: Path,
    signatures: Mapping[str, Signature],
    runs: Mapping[str, Run],
    is_classifier: bool,
    times: int,
    device: DeviceSettings,
) -> dict[str, list[Mapping[str, Array]]]:
    """Run the requests of a warm-up file, if there is one; returns their inputs by signature."""
    if not times or not path.is_file():
        return {}
    if is_classifier:
        classifier, signature = runs[DEFAULT_SIGNATURE], signatures[DEFAULT_SIGNATURE]
        # As requests are run: TensorFlow prepares, and keeps, a graph for each set of outputs.
        runs = {**runs, DEFAULT_SIGNATURE: lambda inputs, outputs: classifier(inputs, computed(outputs, signature))}
    records = import_tensorflow(device).data.TFRecordDataset(str(path)).as_numpy_iterator()
    return trial.replay(records, path, signatures, runs, times)
