"""Functions from arrays to arrays that run part of a graph in a session."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from service.engine.batching.batcher import Run
from service.engine.tf.device import DeviceSettings, callable_options, session_config
from service.engine.tf.errors import translated
from service.interface import Array


@dataclass(frozen=True)
class Ends:
    """Where a signature begins and ends in a graph: names of tensors by the signature's names."""

    feeds: Mapping[str, str]
    fetches: Mapping[str, str]


@dataclass(frozen=True)
class Frozen:
    """A graph whose variables are constants, and the signatures that it computes."""

    graph_def: Any
    ends: Mapping[str, Ends]


@dataclass(frozen=True)
class Opened:
    """A SavedModel as a loader has read it.

    Attributes:
        frozen: the graphs of those signatures that can be frozen.
        as_it_is: makes a function of any signature that runs on what was loaded, and gives a run up after so many
            seconds (0: never), as far as the loader can.
        close: gives the memory of what was loaded back.
    """

    frozen: list[Frozen]
    as_it_is: Callable[[str, float], Run]
    close: Callable[[], None]


def as_array(value: Any) -> Array:
    """What TensorFlow gives as an array; it gives a single string as bytes, of which NumPy would make another type."""
    return np.array(value, dtype=np.object_) if isinstance(value, bytes) else np.asarray(value)


def open_session(tf: Any, graph_def: Any, device: DeviceSettings, place: str) -> Any:
    """A session over a graph of its own, on one device."""
    graph = tf.Graph()
    with graph.as_default(), tf.device(place):
        tf.graph_util.import_graph_def(graph_def, name="")
    config = session_config(tf, device)
    # Otherwise it keeps two more copies of the graph with its weights, to place what is added later, and for debugging.
    config.graph_options.place_pruned_graph = True
    config.experimental.disable_output_partition_graphs = True
    return tf.compat.v1.Session(graph=graph, config=config)


def run_of(tf: Any, session: Any, ends: Ends, device: DeviceSettings, limit_s: float = 0.0) -> Run:
    """A function that runs a signature in a session; with a limit, a run that takes longer is given up.

    Raises:
        KeyError: the graph has no such tensor.
    """
    for tensor in (*ends.feeds.values(), *ends.fetches.values()):
        session.graph.get_tensor_by_name(tensor)
    callables: dict[tuple[str, ...], Callable[..., list[Array]]] = {}
    # An output that is an input itself (estimators export such keys): a session fetches nothing that it is fed.
    inputs_of = {tensor: name for name, tensor in ends.feeds.items()}
    through = {name: inputs_of[tensor] for name, tensor in ends.fetches.items() if tensor in inputs_of}

    def run(inputs: Mapping[str, Array], outputs: tuple[str, ...]) -> Mapping[str, Array]:
        wanted = outputs or tuple(ends.fetches)
        computed = tuple(name for name in wanted if name not in through) if through else wanted
        if not computed:
            return {name: inputs[through[name]] for name in wanted}
        # Two threads may both make the first one; either works.
        made = callables.get(computed)
        try:
            if made is None:
                fetches = [ends.fetches[name] for name in computed]
                options = callable_options(list(ends.feeds.values()), fetches, device, limit_s)
                # `make_callable` gives one that looks its feeds up each time, for as long as a small image runs.
                made = callables[computed] = session._make_callable_from_options(options)
            arrays = made(*(inputs[name] for name in ends.feeds))
        except (tf.errors.OpError, ValueError, TypeError) as error:
            raise translated(tf, error) from error
        found = dict(zip(computed, map(as_array, arrays), strict=True))
        return (
            found if not through else {name: found[name] if name in found else inputs[through[name]] for name in wanted}
        )

    return run
