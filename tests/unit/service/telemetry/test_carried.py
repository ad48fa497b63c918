"""What goes along with a request: IDs that can do no harm, those of a whole batch in one call."""

import re

import pytest

from service.interface import Call
from service.telemetry.carried import as_mapping, carried, request_id_in, request_id_of


def test_a_call_of_several_requests_carries_the_id_of_each_once() -> None:
    calls = [Call(1.0, request_id=each) for each in ("a", "b", "a", "", "c")]
    assert carried(calls) == [("x-request-id", "a,b,c")]
    assert carried([Call(1.0)]) == []


def test_the_first_trace_goes_along() -> None:
    traces = [(), (("traceparent", "1"),), (("traceparent", "2"),)]
    calls = [Call(1.0, request_id=str(n), trace=trace) for n, trace in enumerate(traces)]
    assert carried(calls) == [("x-request-id", "0,1,2"), ("traceparent", "1")]


def test_the_ids_of_a_large_batch_fit_what_grpc_takes() -> None:
    [(_, ids)] = carried(Call(1.0, request_id=f"{n:0128}") for n in range(1000))
    assert 20 < ids.count(",") + 1 < 40
    assert request_id_in({"x-request-id": ids}) == ids


@pytest.mark.parametrize("sent", ["a", "0af7651916cd43dd8448eb211c80319c", "a,b,c"])
def test_the_ids_of_a_call_are_kept(sent: str) -> None:
    assert request_id_in({"x-request-id": sent}) == sent


@pytest.mark.parametrize("sent", ["", ",", "a,", "a b", "a\nb", "ä", "x" * 129, "x," * 3000, '{"a":1}'])
def test_an_id_that_could_do_harm_is_replaced(sent: str) -> None:
    for answered in (request_id_in({"x-request-id": sent}), request_id_of(sent)):
        assert re.fullmatch("[0-9a-f]{32}", answered)


def test_only_text_is_read_of_a_calls_metadata() -> None:
    assert as_mapping([("a", "1"), ("b-bin", b"2")]) == {"a": "1"}
    assert as_mapping(None) == {}
