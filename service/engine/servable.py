"""A version of a model as TensorFlow runs it: its signatures, batched, behind the interface of a servable."""

import gc
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
from service.engine.classifier import blank, read_classes
from service.engine.device import DeviceSettings, has_gpu, import_tensorflow
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
        gc.collect()  # TensorFlow's graphs are cycles of references: only the collector frees them


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
    try:
        runs, release, copies = saved_model.open_runs(folder, signatures, all_tags, device)
        if parameters is not None:  # a batch for each device at the same time
            parameters = replace(parameters, num_batch_threads=max(parameters.num_batch_threads, copies))
        servable = TensorflowServable(name, version, signatures, runs, parameters, release)
    except Exception as error:
        raise LoadFailed(f"{folder} can't be loaded: {saved_model.first_line(error)}") from error
    try:
        default = signatures.get(DEFAULT_SIGNATURE)
        if default is not None and default.image is not None:
            image = {"image": blank(default.image, 1)}
            servable.classes = read_classes(runs[DEFAULT_SIGNATURE](image, ("classes", "scores")))
            # On a CPU a size that has never run costs some milliseconds more once, on a GPU hundreds of them.
            sizes = parameters.sizes(few=not has_gpu()) if parameters is not None else (1,)
            servable.limit_batches(trial.warm_up(runs[DEFAULT_SIGNATURE], default.image, sizes, copies))
        _replay_warmup_file(folder / store.WARMUP, servable, runs, warm_up_times, device)
        for _ in range(copies):  # each call goes to the next device
            trial.check_golden(folder, runs)
    except Exception as error:
        servable.close()
        if isinstance(error, LoadFailed):
            raise
        raise LoadFailed(f"{folder} does not run: {saved_model.first_line(error)}") from error
    return servable


def _replay_warmup_file(
    path: Path, servable: TensorflowServable, runs: Mapping[str, Run], times: int, device: DeviceSettings
) -> None:
    if times and path.is_file():
        records = import_tensorflow(device).data.TFRecordDataset(str(path)).as_numpy_iterator()
        trial.replay(records, path, servable.signatures, runs, times)
