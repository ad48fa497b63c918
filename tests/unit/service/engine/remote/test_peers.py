"""What is known of a peer when its two services, health and models, do not say the same at the same moment."""

from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2

from service import protocol
from service.engine.remote.peers import Peer
from service.interface import State


def answered(result: Any) -> Any:
    """A call that has ended well."""
    return SimpleNamespace(code=lambda: grpc.StatusCode.OK, result=lambda: result)


def health(serving: bool) -> Any:
    status = health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
    of = {"": health_pb2.HealthCheckResponse(status=status), "m": health_pb2.HealthCheckResponse(status=status)}
    return answered(health_pb2.HealthListResponse(statuses=of))


def statuses(*states: State) -> Any:
    response = protocol.get_model_status_pb2.GetModelStatusResponse()
    for version, state in enumerate(states, start=1):
        response.model_version_status.add(version=version, state=int(state))
    return answered(response)


@pytest.mark.parametrize(("serving", "state"), [(True, State.AVAILABLE), (False, State.LOADING)])
def test_a_version_is_available_only_when_its_health_says_so_too(serving: bool, state: State) -> None:
    peer = Peer("nowhere")
    peer.note_health(health(serving))
    peer.note_statuses({"m": statuses(State.AVAILABLE, State.END)})
    assert [each.state for each in peer.statuses["m"]] == [State.END, state]
    # Otherwise a gateway would call itself ready and then find nobody to ask.
    assert peer.serves("m", 1) == serving
