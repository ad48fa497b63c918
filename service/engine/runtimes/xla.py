"""XLA: TensorFlow's compiler, which makes one program of a whole graph, for each size of batch.

The program is a function inside a graph that runs in a session as any other, so its memory comes back with that.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from service.engine.batching.batcher import Run, Unjoinable
from service.engine.batching.warmer import Sample, run_sizes
from service.engine.runtimes.part import NotTaken, Opened, Part
from service.errors import SignpostError

# Makes the function of a graph on each device, by the names of the tensors that are fed and fetched; and its end.
OpenSession = Callable[[Any, Mapping[str, str], Mapping[str, str]], tuple[Sequence[Run], Callable[[], None]]]


def open_part(
    tf: Any,
    part: Part,
    open_session: OpenSession,
    sample: Sample | None,
    sizes: Sequence[int],
    limit_s: float,
    clock: Callable[[], float] = time.monotonic,
) -> Opened:
    """Compile a part for each size of batch.

    Args:
        tf: TensorFlow.
        part: what to compile.
        open_session: makes a function of the graph on each device.
        sample: a row of what comes.
        sizes: of the batches that will run, the smallest first; others it does not take.
        limit_s: seconds that all of it may take, as far as the first shows.
        clock: seconds, steady; replaced in tests.

    Raises:
        NotTaken: it can't be compiled, or not in time.
    """
    if sample is None:
        raise NotTaken("there is nothing to run it with at each size")
    try:
        graph_def = _compiled(tf, part)
        feeds = {name: f"{placeholder}:0" for name, placeholder in part.feeds.items()}
        devices, close = open_session(graph_def, feeds, {name: f"{end}:0" for name, end in part.fetches.items()})
    except Exception as error:  # of any kind, as it is TensorFlow's
        raise NotTaken(f"can't compile it: {_reason(error)}") from error
    until_s = clock() + limit_s
    try:
        for done, size in enumerate(sizes):
            began_s = clock()
            run_sizes(devices, sample, [size])
            if clock() + (clock() - began_s) * (len(sizes) - done - 1) > until_s:
                raise NotTaken(f"would take more than {limit_s:.0f} s to compile it for {len(sizes)} sizes of batches")
    except (SignpostError, Unjoinable) as error:
        close()
        raise error if isinstance(error, NotTaken) else NotTaken(f"can't compile it: {_reason(error)}") from error
    return Opened(tuple(devices), close, tuple(sizes))


def _compiled(tf: Any, part: Part) -> Any:
    """A graph that calls the part as one program."""
    placeholders = {node.name: node for node in part.graph_def.node if node.name in part.feeds.values()}

    @tf.function(jit_compile=True, autograph=False)  # type: ignore[untyped-decorator]
    def program(*arrays: Any) -> Any:
        fed = {f"{name}:0": array for name, array in zip(part.feeds.values(), arrays, strict=True)}
        wanted = [f"{end}:0" for end in part.fetches.values()]
        return tf.graph_util.import_graph_def(part.graph_def, input_map=fed, return_elements=wanted, name="")

    graph = tf.Graph()
    with graph.as_default():
        fed = [
            tf.compat.v1.placeholder(
                tf.as_dtype(placeholders[name].attr["dtype"].type), placeholders[name].attr["shape"].shape, name=name
            )
            for name in part.feeds.values()
        ]
        for end, array in zip(part.fetches.values(), program(*fed), strict=True):
            tf.identity(array, name=end)
    return graph.as_graph_def()


def _reason(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
