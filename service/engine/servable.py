"""A version of a model as TensorFlow runs it: its signatures, batched, behind the interface of a servable."""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from service import store
from service.engine import saved_model, trial
from service.engine.batched_servable import BatchedServable
from service.engine.batching import Batcher, Run
from service.engine.batching_parameters import BatchingParameters
from service.engine.classifier import blank, computed, read_classes
from service.engine.device import DeviceSettings, give_memory_back, has_gpu, import_tensorflow
from service.engine.interface import DEFAULT_SIGNATURE, Answer, Array, Call, Signature
from service.errors import LoadFailed

SERVE_TAG: Final = "serve"


class TensorflowServable(BatchedServable):
    """One loaded version; see `service.engine.interface.Servable`. Made by `load`."""

    def __init__(
        self,
        name: str,
        version: int,
        signatures: Mapping[str, Signature],
        runs: Mapping[str, Run],
        parameters: BatchingParameters | None,
        release: Callable[[], None],
    ) -> None:
        """Put the parts together; `runs` holds a function for each signature."""
        super().__init__(name, version, signatures)
        self._runs = runs
        self._release = release
        self.batchers = {
            signature_name: Batcher(runs[signature_name], parameters)
            for signature_name, signature in signatures.items()
            if signature.batchable and parameters is not None
        }

    def run_alone(self, inputs: Mapping[str, Array], call: Call) -> Answer:
        """Run a call of a signature that has no batcher."""
        started_s = time.monotonic()
        outputs = self._runs[call.signature_name](inputs, call.outputs)
        infer_s = time.monotonic() - started_s
        batched = inputs and self.signatures[call.signature_name].batchable
        return Answer(outputs, infer_s=infer_s, batch_rows=len(next(iter(inputs.values()))) if batched else 1)

    def limit_batches(self, rows: int) -> None:
        """Make no batch larger than the device has memory for."""
        for batcher in self.batchers.values():
            batcher.limit(rows)

    def close(self) -> None:
        """Fail what waits and give the memory back."""
        super().close()
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
) -> TensorflowServable:
    """Load a version, check its golden samples on this device, and warm it up.

    Args:
        folder: the version's folder, a SavedModel.
        name: the model's name.
        version: the version's number.
        parameters: how its requests are batched; None runs each by itself.
        device: how TensorFlow uses the device.
        warm_up_times: how often each request of its warm-up file runs; 0 leaves the file alone.
        tags: those of the graph to serve.

    Raises:
        LoadFailed: the folder is no SavedModel that can be served, or gives other scores than were recorded.
    """
    signatures, all_tags = saved_model.read(folder, tags)
    default = signatures.get(DEFAULT_SIGNATURE)
    size = None if default is None else default.image
    try:
        sample = None if size is None else {"image": blank(size, 1)}
        loaded = saved_model.load(folder, signatures, all_tags, device, sample)
        runs, copies = loaded.runs, loaded.copies
        if parameters is not None:  # a batch for each device at the same time
            parameters = replace(parameters, num_batch_threads=max(parameters.num_batch_threads, copies))
        servable = TensorflowServable(name, version, signatures, runs, parameters, loaded.release)
    except Exception as error:
        raise LoadFailed(f"{folder} can't be loaded: {saved_model.first_line(error)}") from error
    try:
        if size is not None:
            servable.classes = read_classes(loaded.first)
            sizes = parameters.sizes(few=not has_gpu()) if parameters is not None else (1,)
            largest = trial.warm_up(runs[DEFAULT_SIGNATURE], size, sizes, copies)
            if largest < max(sizes):
                servable.limit_batches(largest)
        _replay_warmup_file(folder / store.WARMUP, servable, runs, warm_up_times, device)
        for _ in range(copies):  # each call goes to the next device
            trial.check_golden(folder, runs)
    except Exception as error:
        servable.close()
        if isinstance(error, LoadFailed):
            raise
        raise LoadFailed(f"{folder} does not run: {saved_model.first_line(error)}") from error
    give_memory_back()
    return servable


def _replay_warmup_file(
    path: Path, servable: TensorflowServable, runs: Mapping[str, Run], times: int, device: DeviceSettings
) -> None:
    if not times or not path.is_file():
        return
    if servable.classes:
        classifier, signature = runs[DEFAULT_SIGNATURE], servable.signatures[DEFAULT_SIGNATURE]
        # As requests are run: TensorFlow prepares, and keeps, a graph for each set of outputs.
        runs = {**runs, DEFAULT_SIGNATURE: lambda inputs, outputs: classifier(inputs, computed(outputs, signature))}
    records = import_tensorflow(device).data.TFRecordDataset(str(path)).as_numpy_iterator()
    trial.replay(records, path, servable.signatures, runs, times)
