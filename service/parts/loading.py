"""From settings to a function that loads versions, as a local engine wants it."""

import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

from service.engine.batching.warmer import Used
from service.engine.local.held import ClosableServable
from service.engine.runtimes.asked import GivenUp, Wish
from service.engine.runtimes.part import NotTaken
from service.engine.tf.device import DeviceSettings
from service.parts.plan import Plan
from service.telemetry.serving_metrics import ServingMetrics

# What a setting that is a switch may say; None is for the device to say.
_SWITCH: Final = {"auto": None, "true": True, "false": False}


def make_loader(
    plan: Plan,
    metrics: ServingMetrics,
    stopped: Callable[[str, int, str], None] = lambda *_: None,
    stderr_folder: Path | None = None,
    given_up: GivenUp = lambda *_: None,
    refuse_start: Callable[[str], None] = lambda _: None,
) -> Callable[[Path, str, int], ClosableServable]:
    """Make the function that loads a version, given its folder, its model's name and its number.

    Args:
        plan: how models are batched, warmed up and run.
        metrics: counts what it loads.
        stopped: told of each signature whose requests are no longer joined: model, version, signature.
        stderr_folder: see `DeviceSettings`.
        given_up: told of each version whose runtime is given up while it serves: model, version, runtime.
        refuse_start: told why a runtime that was asked for can't run a version, which ends a start.
    """
    settings, parameters, objectives = plan.settings, plan.batching, plan.objectives
    device = DeviceSettings(
        threads=settings.tensorflow_threads,
        intra_op_threads=settings.tensorflow_intra_op_parallelism,
        inter_op_threads=settings.tensorflow_inter_op_parallelism,
        memory_fraction=settings.per_process_gpu_memory_fraction,
        mixed_precision=bool(settings.mixed_precision),
        stderr_folder=stderr_folder,
        pad_batches=_SWITCH[settings.pad_batches],
    )
    warm_up_times = max(1, settings.num_request_iterations_for_warmup) if settings.enable_model_warmup else 0

    used: defaultdict[str, Used] = defaultdict(Used)

    def load(folder: Path, name: str, version: int) -> ClosableServable:
        from service.engine.tf import loading  # TensorFlow: only in the process that runs it

        own = parameters
        if parameters is not None:
            own = replace(parameters, objective=objectives.get(name, objectives.get("")))
        started_s = time.monotonic()
        succeeded = False
        try:
            loaded = loading.load(
                folder,
                name,
                version,
                own,
                device,
                warm_up_times=warm_up_times,
                tags=plan.tags,
                stopped=stopped,
                used=used[name],
                wish=Wish(plan.runtimes.get(name, plan.runtimes[""]), plan.runtimes_folder, given_up, settings.int8),
            )
            succeeded = True
        except NotTaken as error:
            refuse_start(str(error))
            raise
        finally:
            metrics.count_load(folder, succeeded, time.monotonic() - started_s)
        return loaded

    return load
