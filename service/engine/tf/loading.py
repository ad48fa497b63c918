"""How a version of the store becomes a servable: loaded, tried on this device, warmed up."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

from service import store
from service.engine.batched_servable import BATCHING_IS_OFF, NOT_OPEN, Stopped
from service.engine.batching.measured import times_as_long
from service.engine.batching.parameters import BatchingParameters
from service.engine.batching.warmer import Sample, Used
from service.engine.classifier import blank, read_classes
from service.engine.joining.row_test import why_not_joined
from service.engine.joining.shape_judge import ShapeJudge
from service.engine.runtimes import fitting
from service.engine.runtimes.asked import XLA, Wish
from service.engine.runtimes.choice import Choice
from service.engine.tf import definition, errors, runtime_subject, saved_model, trial
from service.engine.tf.definition import Definition
from service.engine.tf.device import DeviceSettings, give_memory_back, has_gpu, import_tensorflow, pads
from service.engine.tf.saved_model import Loaded
from service.engine.tf.servable import TOLERANCE, TensorflowServable
from service.engine.tf.trial import Asked
from service.errors import LoadFailed, SignpostError
from service.interface import DEFAULT_SIGNATURE, REFERENCE, RunBy

log = logging.getLogger(__name__)

SERVE_TAG: Final = "serve"

# In 16 bits, and in those of TF32 on a GPU, numbers round more coarsely; see `servable.TOLERANCE`.
_COARSE_TOLERANCE: Final = 0.02
# Where 16 bits take more than so many times as long as 32, it is told as a fault; on a CPU in batches of so many rows.
_SLOWER: Final = 1.05
_CPU_ROWS: Final = 8


def load(
    folder: Path,
    name: str,
    version: int,
    parameters: BatchingParameters | None,
    device: DeviceSettings,
    *,
    warm_up_times: int = 1,
    tags: Iterable[str] = (SERVE_TAG,),
    stopped: Stopped = lambda *_: None,
    used: Used | None = None,
    wish: Wish | None = None,
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
        stopped: told of each signature whose requests are no longer joined.
        used: what requests asked of other versions; it is warmed up too, and what they ask of this one is added.
        wish: how its runtime is found; TensorFlow without it.

    Raises:
        NotTaken: the runtime that was asked for can't run it.
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
    wish = Wish() if wish is None else wish
    choice = Choice(RunBy())
    try:
        runs = loaded.runs
        padded = parameters is not None and (pads(device) or wish.runtime == XLA)
        classes = () if size is None else read_classes(loaded.drafts[DEFAULT_SIGNATURE]({"image": blank(size, 1)}, ()))
        largest = None
        wanted = ("scores",) if default is None or size is None else default.image_outputs
        if size is not None:
            few = not (padded or has_gpu())
            sizes = parameters.sizes(few) if parameters is not None else (1,)
            largest = trial.warm_up(loaded.devices[DEFAULT_SIGNATURE], size, sizes, wanted)
        real = trial.replay_file(folder / store.WARMUP, found.signatures, runs, bool(classes), warm_up_times, device)
        reference = {name: devices[0] for name, devices in loaded.devices.items()}
        for _ in range(loaded.copies):  # each call goes to the next device
            trial.check_golden(folder, runs, wanted)
        tolerance = _COARSE_TOLERANCE if device.mixed_precision or has_gpu() else TOLERANCE
        unjoined = _find_unjoined(folder, found, loaded, parameters, real, tolerance)
        if wish.runtime != REFERENCE and DEFAULT_SIGNATURE in loaded.devices:
            subject = runtime_subject.make(
                (folder, name, version), found, loaded, parameters, device, real=real, padded=padded, wish=wish
            )
            choice = fitting.fit(subject, wish)
            if choice.opened is not None:
                guarded = fitting.guard(subject, choice, lambda by: setattr(servable, "run_by", by), wish)
                loaded.serve(DEFAULT_SIGNATURE, guarded)
                if size is not None:
                    trial.warm_up(guarded, size, [each for each in sizes if largest is None or each <= largest], wanted)
        loaded.settle()
        used = Used() if used is None else used
        servable = TensorflowServable(
            name,
            version,
            signatures=found.signatures,
            runs=runs,
            parameters=parameters,
            release=partial(_release, loaded, choice),
            unjoined=unjoined,
            tolerance=tolerance,
            judges=_judges(found, loaded, device),
            stopped=stopped,
            devices=loaded.devices if padded else {},
            used=used.add,
        )
        servable.classes = classes
        servable.run_by = choice.by
        if largest is not None and largest < max(sizes):
            servable.limit_batches(largest)
        for each, signature in found.signatures.items():
            is_classifier = each == DEFAULT_SIGNATURE and bool(classes)
            if is_classifier and size is not None:
                servable.note_warm(each, trial.scores(size, wanted))
            samples = list(trial.samples(each, signature, is_classifier, real.get(each, ()), used))
            if each == DEFAULT_SIGNATURE and samples and each in servable.batchers and not has_gpu():
                servable.count_memory(each, samples[0], reference[each])
            servable.warm_up(each, samples)
            if each == DEFAULT_SIGNATURE and samples and each in servable.batchers:
                _measure(servable, loaded, samples[0], device.mixed_precision and choice.opened is None)
    except Exception as error:
        _release(loaded, choice)
        give_memory_back()
        if isinstance(error, LoadFailed):
            raise
        raise LoadFailed(f"{folder} does not run: {errors.first_line(error)}") from error
    give_memory_back()
    return servable


def _release(loaded: Loaded, choice: Choice) -> None:
    if choice.opened is not None:
        choice.opened.close()
    loaded.release()


def _measure(servable: TensorflowServable, loaded: Loaded, sample: Sample, mixed_precision: bool) -> None:
    """Find out how the default signature runs best, and whether 16 bits are worth it."""
    if has_gpu():
        servable.run_in_pairs(DEFAULT_SIGNATURE, sample)
    if not mixed_precision:
        return
    name = f"{servable.name} version {servable.version}"
    most = servable.batchers[DEFAULT_SIGNATURE].most_rows
    rows = most if has_gpu() else min(most, _CPU_ROWS)
    with loaded.in_float32(DEFAULT_SIGNATURE) as plain:
        if plain is None:
            return
        try:
            times = times_as_long(loaded.devices[DEFAULT_SIGNATURE][0], plain, sample, rows)
        except SignpostError as error:  # the device has no memory for both
            log.debug("%s was not measured in float32: %s", name, error)
            return
    says = f"{name}: with --mixed_precision a batch of {rows} takes {times:.2f} times as long as in float32"
    if times > _SLOWER:
        log.warning("%s; leave it out.", says, extra={"once": f"16 bits {name}"})
    else:
        log.info("%s.", says, extra={"once": f"16 bits {name}"})


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
    real: Mapping[str, Sequence[Asked]],
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
            known = [
                *(asked.inputs for asked in real.get(name, ())),
                *(each for each in golden if each.keys() == signature.inputs.keys()),
            ]
            reason = found.why_calls_differ(name) or why_not_joined(
                loaded.trials[name], signature, known, tolerance, parameters.max_batch_size
            )
            if reason:
                unjoined[name] = reason
    return unjoined
