"""A version of a model as TensorFlow runs it: its signatures, batched, behind the interface of a servable."""

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import Any, Final

import numpy as np

from service.engine.batched_servable import BatchedServable, Stopped
from service.engine.batching.batcher import Batcher, Run, Unjoinable
from service.engine.batching.measured import gain_of_pairs
from service.engine.batching.parameters import BatchingParameters
from service.engine.batching.warm_batcher import WarmBatcher
from service.engine.batching.warmer import Sample
from service.engine.inputs import unfit_shape
from service.engine.joining.recheck import Recheck
from service.engine.joining.shape_judge import ShapeJudge
from service.engine.tf.device import bytes_taken_by, give_memory_back
from service.errors import InvalidRequest, ModelFailed, SignpostError
from service.interface import Answer, Array, Call, Queue, Signature

log = logging.getLogger(__name__)

# How far numbers may differ that are the same but for rounding, as a share of the largest: other sizes of batches are
# computed by other kernels.
TOLERANCE: Final = 1e-4
# How many times as much has to come of two batches at a time, which hold memory for two.
_GAIN: Final = 1.1
# Of the batch by which the memory of a row is measured: one alone takes less than its share of many.
_MEASURED_ROWS: Final = 4


class TensorflowServable(BatchedServable):
    """One loaded version; see `service.interface.Servable`. Made by `service.engine.tf.loading`.

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
        stopped: told of each signature whose requests are no longer joined.
        devices: where only sizes are to run that ran before, the function of each signature on each device.
        used: told of each kind of requests that comes and has not run at every size, with its signature.
    """

    def __init__(
        self,
        name: str,
        version: int,
        *,
        signatures: Mapping[str, Signature],
        runs: Mapping[str, Run],
        parameters: BatchingParameters | None,
        release: Callable[[], None],
        unjoined: Mapping[str, str],
        tolerance: float = TOLERANCE,
        judges: Mapping[str, ShapeJudge] = MappingProxyType({}),
        stopped: Stopped = lambda *_: None,
        devices: Mapping[str, Sequence[Run]] = MappingProxyType({}),
        used: Callable[[str, Sample], None] = lambda *_: None,
    ) -> None:
        """Put the parts together."""
        super().__init__(name, version, signatures=signatures, unjoined=unjoined, stopped=stopped)
        self._judges = judges
        self._runs = runs
        self._release = release
        self._rechecks: list[Recheck] = []
        self._devices = devices
        self._used = used
        self._warm: dict[str, WarmBatcher] = {}
        if parameters is not None:
            self.batchers = {
                each: self._batcher(each, parameters, tolerance) for each in signatures if each not in unjoined
            }

    @property
    def queue(self) -> Queue:
        """What waits; see `BatchedServable.queue`."""
        return replace(super().queue, run_by=self.run_by)

    def _batcher(self, signature_name: str, parameters: BatchingParameters, tolerance: float) -> Batcher:
        image = self.signatures[signature_name].image is not None
        if not parameters.row_test:  # joined as asked for, whatever comes of it
            # Nobody asked for padding, in which a row that depends on others would get another answer.
            padded = image or bool(parameters.allowed_batch_sizes)
            return self._make_batcher(signature_name, parameters, padded)
        stop = partial(self.stop_joining, signature_name)
        # At first all are looked at of what only the row test has shown.
        run, share = self._runs[signature_name], parameters.recheck_share
        recheck = Recheck(run, share=share, tolerance=tolerance, differed=stop, eager=not image)
        self._rechecks.append(recheck)
        joined = recheck.note if parameters.recheck_share else None
        return self._make_batcher(signature_name, parameters, True, joined=joined, unjoinable=stop)

    def _make_batcher(self, name: str, parameters: BatchingParameters, padded: bool, **told: Any) -> Batcher:
        devices = self._devices.get(name)
        if devices is None or not padded:
            return Batcher(self._runs[name], parameters, **told)
        full_name = f"{self.name} version {self.version}, signature {name!r}"
        batcher = self._warm[name] = WarmBatcher(
            self._runs[name],
            parameters.with_sizes(),
            devices=devices,
            name=full_name,
            used=partial(self._note_used, name),
            **told,
        )
        return batcher

    def _note_used(self, name: str, sample: Sample) -> None:
        if self.signatures[name].image is not None:  # any pixels will do, and a client's are nobody's business
            sample = Sample({each: np.zeros_like(row) for each, row in sample.row.items()}, sample.outputs)
        self._used(name, sample)

    def warm_up(self, signature_name: str, samples: Iterable[Sample]) -> None:
        """Run kinds of requests at every size, where only sizes are to run that ran before."""
        if signature_name not in self._warm:
            return
        for sample in samples:
            try:
                self._warm[signature_name].warmer.warm_up(sample)
            except (SignpostError, Unjoinable) as error:  # its first runs will be beside the queue
                log.debug(
                    "%s version %d, %r, could not be warmed up: %s", self.name, self.version, signature_name, error
                )

    def count_memory(self, signature_name: str, sample: Sample, run: Run) -> None:
        """Choose the size of batches by the memory that they take too; before any has run.

        Args:
            signature_name: of the batches.
            sample: what they consist of.
            run: the signature as TensorFlow runs it, which tells the memory.
        """
        batcher = self.batchers[signature_name]
        rows = min(_MEASURED_ROWS, batcher.most_rows)
        inputs = {name: np.repeat(row, rows, axis=0) for name, row in sample.row.items()}
        try:
            taken = bytes_taken_by(lambda: run(inputs, sample.outputs))
        except SignpostError as error:
            log.debug("%s version %d: a batch's memory is not known: %s", self.name, self.version, error)
            return
        most = batcher.count_memory(taken // rows)
        if most is not None:
            log.info(
                "%s version %d takes %.1f MB for each instance of a batch: batches have at most %d of them "
                "(--max-batch-memory-mb).",
                self.name,
                self.version,
                taken / rows / 2**20,
                most,
                extra={"once": f"memory {self.name} {self.version}"},
            )

    def run_in_pairs(self, signature_name: str, sample: Sample) -> None:
        """Run two batches at a time on each device from now on, if that is left to measuring and measures quicker."""
        batcher = self._warm.get(signature_name)
        if batcher is None or not batcher.may_pair:
            return
        try:
            gain = gain_of_pairs(self._devices[signature_name][0], sample, batcher.most_rows)
        except SignpostError as error:  # the device has no memory for two
            log.debug(
                "%s version %d could not be measured with two batches at a time: %s", self.name, self.version, error
            )
            return
        if gain >= _GAIN:
            batcher.at_once *= 2
        log.info(
            "%s version %d: two batches of %d at a time give %.2f times the answers; %s at a time from now on.",
            self.name, self.version, batcher.most_rows, gain, batcher.at_once,
            extra={"once": f"pairs {self.name} {self.version}"},
        )  # fmt: skip

    def note_warm(self, signature_name: str, sample: Sample) -> None:
        """Note that a kind of requests has run at every size."""
        if signature_name in self._warm:
            self._warm[signature_name].warmer.mark(sample.kind)

    def run_alone(self, inputs: Mapping[str, Array], call: Call) -> Answer:
        """Run a call by itself."""
        signature = self.signatures[call.signature_name]
        inputs = {**signature.defaults, **inputs}
        started_s = time.monotonic()
        unfit = unfit_shape(inputs, signature)
        if unfit and (reason := self._why_not_taken(inputs, call.signature_name)):
            raise InvalidRequest(f"{unfit} The graph rejects it: {reason}.")
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
                raise InvalidRequest(f"The model does not accept this input: {reason}.") from error
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
        for batcher in self._warm.values():  # also those that join nothing any more
            batcher.close()
        for recheck in self._rechecks:
            recheck.close()
        self._release()
        give_memory_back()
