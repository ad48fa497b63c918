"""A call's context in a replica: what is left of its time, how it ends, who is told."""

import grpc
import pytest

from service.ray_serve import deadline
from service.ray_serve.context import ANSWERED, CallContext, Ended
from service.telemetry import carried
from tests.unit.service.ray_serve.contexts import RayContext


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_what_is_left_comes_as_metadata_and_grows_less() -> None:
    clock = Clock()
    context = CallContext(RayContext((deadline.KEY, "50")), clock)
    clock.now_s += 0.02
    assert context.time_remaining() == pytest.approx(0.03)
    clock.now_s += 1
    assert context.time_remaining() == 0


@pytest.mark.parametrize("sent", [(), ((deadline.KEY, "soon"),), ((deadline.KEY, "-5"),), ((deadline.KEY, b"50"),)])
def test_without_a_readable_word_there_is_no_deadline(sent: tuple[tuple[str, object], ...]) -> None:
    assert CallContext(RayContext(*sent)).time_remaining() is None


@pytest.mark.parametrize(
    ("sent", "remaining_s", "told"),
    [
        ((), None, None),
        ((), 0.25, "250"),
        ((), 0.0, "1"),
        ((), 1e12, None),  # gRPC's word for none
        ("900", 0.25, "250"),
        ("100", 0.25, "100"),
        ("100", None, "100"),
        ("soon", 0.25, "soon"),  # the replica tells what is wrong with it
    ],
)
def test_the_earlier_of_both_deadlines_goes_to_the_replica(
    sent: str, remaining_s: float | None, told: str | None
) -> None:
    metadata = [("a", "b"), *([(deadline.KEY, sent)] if sent else [])]
    passed = dict(deadline.with_left(metadata, remaining_s))
    assert passed == {"a": "b", **({deadline.KEY: told} if told else {})}


def test_it_is_called_what_gateways_call_it() -> None:
    assert deadline.KEY == carried.DEADLINE  # which a proxy would need NumPy to import


def test_abort_sets_code_and_text_and_ends_the_call() -> None:
    told = RayContext()
    context = CallContext(told)
    with pytest.raises(Ended):
        context.abort(grpc.StatusCode.NOT_FOUND, "No such model.")
    assert (told.told_code, told.told_details) == (grpc.StatusCode.NOT_FOUND, "No such model.")
    assert not context.is_active()


def test_nothing_changes_what_was_told_once_a_call_has_ended() -> None:
    told = RayContext()
    context = CallContext(told)
    context.end(grpc.StatusCode.DEADLINE_EXCEEDED, "Too late.")
    context.end(grpc.StatusCode.INTERNAL, "Failed.")
    context.set_code(grpc.StatusCode.OK)
    context.set_details("")
    context.set_trailing_metadata((("x", "y"),))
    assert (told.told_code, told.told_details) == (grpc.StatusCode.DEADLINE_EXCEEDED, "Too late.")
    assert told.trailing == [ANSWERED]


def test_every_answer_bears_the_replicas_mark_for_the_proxy() -> None:
    told = RayContext()
    context = CallContext(told)
    assert told.trailing == [ANSWERED]
    context.set_trailing_metadata((("x-request-id", "7"),))
    assert told.trailing == [("x-request-id", "7"), ANSWERED]
