"""A batcher in whose queue nobody waits for a first run: for devices on which a size that never ran is dear.

Batches have few sizes. A kind of requests that has not run at all of them yet has a queue of its own, beside the one of
those that have; with its first answer it is noted and run at every size meanwhile (see `warmer`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from service.engine.batching.batch import kind_of
from service.engine.batching.batcher import Batcher, Joined, Run
from service.engine.batching.parameters import BatchingParameters
from service.engine.batching.warmer import Sample, Warmer, sample_of
from service.errors import SignpostError
from service.interface import Answer, Array, Call

# First runs at the same time: of other kinds, which should not wait for each other.
_BESIDE: Final = 4


class WarmBatcher(Batcher):
    """A batcher whose queue takes only kinds of requests that have run at every size.

    Args:
        run: see `Batcher`.
        parameters: with the sizes to which batches are padded.
        devices: `run` on each device.
        name: of model and signature, for the log.
        joined: see `Batcher`.
        unjoinable: see `Batcher`.
        used: told of each kind that requests use and that was not warm.

    Attributes:
        warmer: knows what is warm.
        may_pair: whether measuring decides how many batches run at a time.
    """

    def __init__(
        self,
        run: Run,
        parameters: BatchingParameters,
        *,
        devices: Sequence[Run],
        name: str,
        joined: Joined | None = None,
        unjoinable: Callable[[str], None] = lambda _: None,
        used: Callable[[Sample], None] = lambda _: None,
    ) -> None:
        """Nothing is warm yet."""
        super().__init__(run, parameters, joined=joined, unjoinable=unjoinable)
        beside = replace(parameters, num_batch_threads=max(_BESIDE, parameters.num_batch_threads))
        self._beside = Batcher(run, beside, joined=joined, unjoinable=unjoinable)
        self._used = used
        self.may_pair = parameters.pairs
        self.warmer = Warmer(devices, parameters.allowed_batch_sizes, self.limit, name)

    def submit_all(self, wanted: Sequence[tuple[Mapping[str, Array], Call]]) -> list[Answer | SignpostError]:
        """Run several requests for one thread; see `Batcher.submit_all`."""
        warm = [self.warmer.is_warm(kind_of(inputs, call.outputs)) for inputs, call in wanted]
        if all(warm):
            return super().submit_all(wanted)
        outcomes = []
        for one, is_warm in zip(wanted, warm, strict=True):
            outcomes += super().submit_all([one]) if is_warm else [self._run_beside(*one)]
        return outcomes

    def _run_beside(self, inputs: Mapping[str, Array], call: Call) -> Answer | SignpostError:
        [outcome] = self._beside.submit_all([(inputs, call)])
        if isinstance(outcome, Answer):
            sample = sample_of(inputs, call.outputs)
            if self.warmer.note(sample):
                self._used(sample)
        return outcome

    def stop_joining(self) -> None:
        """Run each request whole and by itself from now on."""
        super().stop_joining()
        self._beside.stop_joining()

    def close(self) -> None:
        """Fail those that wait, and end the thread that runs new kinds; waits for its batch, some seconds at most."""
        super().close()
        self._beside.close()
        self.warmer.close()
