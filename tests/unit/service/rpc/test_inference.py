"""The protocol over gRPC: the real server and our own messages, over an engine without TensorFlow."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import grpc
import numpy as np
import pytest

from service import errors
from service.admission import FrontQueue
from service.config.settings import Settings
from service.interface import Array, Call
from service.oip.messages import SERVICE, message
from service.oip.requests import rules_of
from service.oip.tensors import to_bytes
from service.rpc import inference as grpc_inference
from service.rpc.exchange import Watch
from service.rpc.inference import InferenceService
from service.rpc.server import GrpcServer
from service.security import access, keys
from service.telemetry.metrics import Metrics
from tests.fakes import FakeEngine, FakeRepository, FakeServable, classifier, signature, spec
from tests.unit.service.gateway.pictures import BLACK, WHITE

PREDICT, PREDICT_KEY = keys.make("camera", "predict")
ADMIN, ADMIN_KEY = keys.make("ops", "admin")
STREAM = "ModelStreamInfer"

Ask = Callable[..., Any]


def half() -> FakeServable:
    def run(inputs: Mapping[str, Array], call: Call) -> Mapping[str, Array]:
        outputs: dict[str, Array] = {"y": inputs["x"] // 2, "h": inputs["x"].astype(np.float16)}
        return {name: outputs[name] for name in call.outputs or outputs}

    outputs = [spec("y", "DT_INT32", -1), spec("h", "DT_HALF", -1)]
    return FakeServable(run, {"serving_default": signature([spec("x", "DT_INT32", -1)], outputs)}, name="half")


class Service:
    """A server, and how to ask it."""

    def __init__(self, address: str, metrics: Metrics, repository: FakeRepository, server: GrpcServer) -> None:
        self.metrics = metrics
        self.server = server
        self.repository = repository
        self.channel = grpc.insecure_channel(address)

    def ask(self, rpc: str, *metadata: tuple[str, str], **fields: Any) -> Any:
        request = message(f"{rpc}Request")(**fields)
        return self.send(rpc, request.SerializeToString(), *metadata)

    def send(self, rpc: str, sent: bytes, *metadata: tuple[str, str]) -> Any:
        call = self.channel.unary_unary(f"/{SERVICE}/{rpc}", response_deserializer=message(f"{rpc}Response").FromString)
        return call(sent, timeout=20, metadata=metadata)

    def stream(self, sent: Iterator[bytes] | Sequence[bytes], *metadata: tuple[str, str]) -> Any:
        call = self.channel.stream_stream(
            f"/{SERVICE}/{STREAM}", response_deserializer=message(f"{STREAM}Response").FromString
        )
        return call(iter(sent), timeout=20, metadata=metadata)


@contextmanager
def serving(
    engine: FakeEngine, settings: Settings | None = None, loading: Callable[[], bool] = lambda: False, **more: Any
) -> Iterator[Service]:
    settings = settings or Settings(max_images=3)
    metrics, repository = Metrics(engine), FakeRepository()
    watch = Watch(metrics, loading=loading)
    inference = InferenceService(
        engine,
        default_deadline_s=20.0,
        metrics=metrics,
        rules=rules_of(settings),
        queue=FrontQueue(4),
        repository=repository,
        watch=watch,
        **more,
    )
    decides = access.read(settings).access()
    server = GrpcServer(
        engine,
        threads=4,
        default_deadline_s=20.0,
        max_message_bytes=1 << 20,
        access=decides,
        handlers=(inference.handler(),),
        on_refusal=inference.close,
    )
    service = Service(f"127.0.0.1:{server.start('127.0.0.1:0')}", metrics, repository, server)
    with service.channel:
        yield service
    server.close(0)


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine(classifier("letters", 2, ("dark", "bright")), half(), labels={"stable": 2})


@pytest.fixture
def service(engine: FakeEngine) -> Iterator[Service]:
    with serving(engine) as running:
        yield running


def infer_request(model: str = "half", *values: int, **fields: Any) -> Any:
    request = message("ModelInferRequest")(model_name=model, **fields)
    array = np.array(values or (4, 7), np.int32)
    request.inputs.add(name="x", datatype="INT32", shape=array.shape)
    request.raw_input_contents.append(to_bytes(array))
    return request


def refused(ask: Callable[[], Any]) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as caught:
        ask()
    return caught.value.code(), caught.value.details()  # type: ignore[attr-defined]


def test_what_there_is(service: Service, engine: FakeEngine) -> None:
    assert service.ask("ServerLive").live
    assert service.ask("ServerReady").ready
    assert "statistics" in service.ask("ServerMetadata").extensions
    assert service.ask("ModelReady", name="letters", version="stable").ready
    for name, version in (("", ""), ("nosuch", ""), ("letters", "9"), ("letters", "nosuch")):
        assert not service.ask("ModelReady", name=name, version=version).ready
    metadata = service.ask("ModelMetadata", name="letters")
    assert [(each.name, each.datatype, list(each.shape)) for each in metadata.inputs] == [
        ("image", "UINT8", [-1, 2, 3, 3])
    ]
    config = service.ask("ModelConfig", name="half").config
    assert (config.name, config.input[0].data_type, list(config.input[0].dims)) == ("half", 8, [])
    index = service.ask("RepositoryIndex")
    assert {(each.name, each.state) for each in index.models} == {
        ("letters", "READY"), ("half", "READY"), ("asleep", "UNAVAILABLE"),
    }  # fmt: skip
    engine.states = {"letters": ()}
    assert not service.ask("ServerReady").ready


def test_raw_is_answered_raw_and_contents_in_contents(service: Service) -> None:
    answer = service.send("ModelInfer", infer_request(id="7").SerializeToString())
    assert (answer.id, answer.model_name, answer.model_version) == ("7", "half", "1")
    assert [bytes(each) for each in answer.raw_output_contents] == [
        to_bytes(np.int32([2, 3])),
        to_bytes(np.float16([4, 7])),
    ]
    request = message("ModelInferRequest")(model_name="half")
    given = request.inputs.add(name="x", datatype="INT32", shape=[2])
    given.contents.int_contents.extend([4, 7])
    request.outputs.add(name="y")
    answer = service.send("ModelInfer", request.SerializeToString())
    assert list(answer.outputs[0].contents.int_contents) == [2, 3]
    assert not answer.raw_output_contents
    request.outputs.add(name="h")  # 16-bit floats have no field
    assert len(service.send("ModelInfer", request.SerializeToString()).raw_output_contents) == 2


def test_images_and_their_classes(service: Service) -> None:
    request = message("ModelInferRequest")(model_name="letters", model_version="stable")
    request.inputs.add(name="image", datatype="BYTES", shape=[2])
    request.raw_input_contents.append(to_bytes(np.array([BLACK, WHITE], np.object_)))
    request.outputs.add(name="scores").parameters["classification"].int64_param = 1
    answer = service.send("ModelInfer", request.SerializeToString())
    assert answer.raw_output_contents[0] == b"\x0f\0\0\x001.000000:0:dark\x11\0\0\x001.000000:1:bright"


def changed(**how: Any) -> Any:
    """A request that is right but for one thing."""
    request = infer_request()
    for name, value in how.items():
        target: Any = request.inputs[0] if name in ("datatype", "shape", "contents", "name") else request
        if name == "raw":
            del request.raw_input_contents[:]
            request.raw_input_contents.extend(value)
        elif name == "shape":
            del target.shape[:]
            target.shape.extend(value)
        elif name == "contents":
            target.contents.int_contents.extend(value)
        elif name == "again":
            request.inputs.append(request.inputs[0])
            request.raw_input_contents.append(value)
        elif name == "parameter":
            request.parameters[value[0]].int64_param = value[1]
        elif name == "memory":
            request.inputs[0].parameters["shared_memory_region"].string_param = value
        elif name == "output":
            request.outputs.add(name=value)
        else:
            setattr(target, name, value)
    return request


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({"model_name": ""}, "names no model"),
        ({"name": "z"}, "unexpected inference input 'z'"),
        ({"datatype": "FP99"}, "invalid datatype"),
        ({"datatype": "INT64"}, "needs 16 bytes, not 8"),
        ({"shape": [-1]}, "whole numbers, 0 or more"),
        ({"shape": [2**62, 2**62]}, "more elements"),
        ({"shape": [1] * 40}, "40 dimensions"),
        ({"shape": [3]}, "needs 12 bytes, not 8"),
        ({"raw": [b"", b""]}, "expected 1 raw_input_contents"),
        ({"raw": []}, "needs 2 values, not 0"),
        ({"contents": [1, 2]}, "must not be specified when using raw_input_contents"),
        ({"again": b"\0" * 8}, "'x' already exists"),
        ({"parameter": ("sequence_id", 3)}, "keep no state"),
        ({"parameter": ("priority", -1)}, "priority"),
        ({"memory": "region"}, "shared memory"),
        ({"output": "z"}, "unexpected inference output 'z'"),
    ],
)
def test_what_is_wrong_is_the_client_s_error_in_a_stream_too(service: Service, how: dict[str, Any], says: str) -> None:
    sent = changed(**how).SerializeToString()
    code, told = refused(lambda: service.send("ModelInfer", sent))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert says in told
    good = infer_request(id="8").SerializeToString()
    wrong, right = service.stream([sent, good])
    assert wrong.error_message == told
    assert not right.error_message
    assert right.infer_response.id == "8"


def test_what_is_not_there(service: Service) -> None:
    for fields, says in (
        ({"model": "nosuch"}, "Request for unknown model: 'nosuch' is not found"),
        ({"model_version": "9"}, "'half' version 9"),
    ):
        code, told = refused(lambda: service.send("ModelInfer", infer_request(**fields).SerializeToString()))  # noqa: B023
        assert code is grpc.StatusCode.NOT_FOUND
        assert says in told
    assert refused(lambda: service.ask("ModelMetadata", name="nosuch"))[0] is grpc.StatusCode.NOT_FOUND
    assert refused(lambda: service.ask("ModelStatistics", name="nosuch"))[0] is grpc.StatusCode.NOT_FOUND
    trace = service.channel.unary_unary(f"/{SERVICE}/TraceSetting")
    assert refused(lambda: trace(b"", timeout=20))[0] is grpc.StatusCode.UNIMPLEMENTED


def test_no_message_at_all(service: Service) -> None:
    assert refused(lambda: service.send("ModelInfer", b"\xff"))[0] is grpc.StatusCode.INVALID_ARGUMENT
    wrong, right = service.stream([b"\xff", infer_request().SerializeToString()])
    assert "not a ModelInferRequest" in wrong.error_message
    assert right.infer_response.model_name == "half"


def test_an_unforeseen_failure_ends_no_stream(service: Service, engine: FakeEngine) -> None:
    engine.fault = RuntimeError("odd")
    sent = infer_request(id="1").SerializeToString()
    requests: list[bytes] = [sent, sent]

    def sends() -> Iterator[bytes]:
        yield requests[0]
        assert first.wait(20)
        yield requests[1]

    first = threading.Event()
    answers = service.stream(sends())
    assert "its log says why" in next(answers).error_message
    engine.fault = None
    first.set()
    assert next(answers).infer_response.model_name == "half"


def test_a_stream_says_which_answer_is_the_last_where_it_is_asked(service: Service) -> None:
    request = infer_request()
    [plain] = service.stream([request.SerializeToString()])
    request.parameters["triton_enable_empty_final_response"].bool_param = True
    [final] = service.stream([request.SerializeToString()])
    assert "triton_final_response" not in plain.infer_response.parameters
    assert final.infer_response.parameters["triton_final_response"].bool_param


def test_streams_that_say_nothing_keep_nobody_waiting(engine: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grpc_inference, "_MOST_STREAMS", 6)
    with serving(engine) as service:  # of 4 threads
        end = threading.Event()

        def silent() -> Iterator[bytes]:
            yield infer_request().SerializeToString()
            end.wait(20)

        streams = [service.stream(silent()) for _ in range(6)]
        for each in streams:
            assert next(each).infer_response.model_name == "half"
        assert service.send("ModelInfer", infer_request().SerializeToString()).model_name == "half"
        assert refused(lambda: list(service.stream([])))[0] is grpc.StatusCode.UNAVAILABLE
        end.set()
        assert [list(each) for each in streams] == [[]] * 6
        assert len(list(service.stream([infer_request().SerializeToString()]))) == 1


def test_a_stream_ends_with_the_service(engine: FakeEngine) -> None:
    with serving(engine) as service:
        end = threading.Event()

        def silent() -> Iterator[bytes]:
            yield infer_request().SerializeToString()
            end.wait(20)

        answers = service.stream(silent())
        assert next(answers).infer_response.model_name == "half"
        began_s = time.monotonic()
        service.server.close(10.0)
        assert time.monotonic() - began_s < 5
        with suppress(grpc.RpcError):  # it is cancelled where it waited for its client, as it mostly does
            assert list(answers) == []
        end.set()


def test_a_timeout_is_a_deadline(service: Service, engine: FakeEngine) -> None:
    request = infer_request()
    request.parameters["timeout"].int64_param = 1_000_000
    service.send("ModelInfer", request.SerializeToString())
    service.send("ModelInfer", infer_request().SerializeToString())
    [servable] = [each for each in engine.servables if each.name == "half"]
    short, long = (call for _, call in servable.asked)
    assert short.deadline < long.deadline - 10
    assert "parameter timeout" in short.limit


def test_a_refusal_of_the_queue_is_unavailable(engine: FakeEngine) -> None:
    engine.servables[0].full = errors.Overloaded("The queue is full: 3 wait.", 1.0)
    with serving(engine) as service:
        request = message("ModelInferRequest")(model_name="letters")
        request.inputs.add(name="image", datatype="BYTES", shape=[1])
        request.raw_input_contents.append(to_bytes(np.array([WHITE], np.object_)))
        assert refused(lambda: service.send("ModelInfer", request.SerializeToString()))[0] is (
            grpc.StatusCode.UNAVAILABLE
        )


def test_what_was_done_is_counted(service: Service) -> None:
    good = infer_request().SerializeToString()
    for _ in range(3):
        service.send("ModelInfer", good)
    list(service.stream([good]))
    refused(lambda: service.send("ModelInfer", changed(shape=[3]).SerializeToString()))
    [told] = service.ask("ModelStatistics", name="half", version="1").model_stats
    stats = told.inference_stats
    # The fake's batches are of four instances; each of these requests has two.
    assert (told.inference_count, told.execution_count) == (8, 2)
    assert (stats.success.count, stats.fail.count, stats.compute_infer.count, stats.cache_hit.count) == (4, 1, 4, 0)
    assert stats.compute_infer.ns == 4 * 2_000_000
    assert stats.queue.ns == 4 * 1_000_000
    assert min(stats.success.ns, stats.fail.ns, stats.compute_input.ns, stats.compute_output.ns) > 0
    assert told.last_inference > 1_700_000_000_000
    assert {each.name for each in service.ask("ModelStatistics").model_stats} == {"half", "letters"}


def test_models_are_loaded_and_unloaded_by_name(service: Service) -> None:
    loaded = service.ask("RepositoryModelLoad", model_name="half")
    assert (loaded.model_name, loaded.isLoaded) == ("half", True)
    unloaded = service.ask("RepositoryModelUnload", repository_name="letters")  # where KServe has the name
    assert (unloaded.model_name, unloaded.isUnloaded) == ("letters", True)
    assert [(what, name) for what, name, _ in service.repository.asked] == [("load", "half"), ("unload", "letters")]
    wrong: list[dict[str, Any]] = [{}, {"repository_name": "r", "model_name": "half"}]
    for fields in wrong:
        code, _ = refused(lambda: service.ask("RepositoryModelLoad", **fields))  # noqa: B023
        assert code is grpc.StatusCode.INVALID_ARGUMENT
    request = message("RepositoryModelLoadRequest")(model_name="half")
    request.parameters["file:1/model.pb"].bytes_param = b"x"
    code, _ = refused(lambda: service.send("RepositoryModelLoad", request.SerializeToString()))
    assert code is grpc.StatusCode.INVALID_ARGUMENT


def test_keys_and_roles(engine: FakeEngine) -> None:
    with serving(engine, Settings(api_keys=f"{PREDICT_KEY.line},{ADMIN_KEY.line}")) as service:
        predict, admin = ("x-api-key", PREDICT), ("authorization", f"Bearer {ADMIN}")
        good = infer_request().SerializeToString()
        assert service.ask("ServerLive").live
        assert service.ask("ServerReady").ready
        for ask in (
            lambda: service.ask("ModelReady", name="half"),
            lambda: service.send("ModelInfer", good),
            lambda: list(service.stream([good])),
            lambda: service.ask("RepositoryModelLoad", model_name="half"),
        ):
            assert refused(ask)[0] is grpc.StatusCode.UNAUTHENTICATED
        assert service.send("ModelInfer", good, predict).model_name == "half"
        assert len(list(service.stream([good], predict))) == 1
        code, _ = refused(lambda: service.ask("RepositoryModelUnload", predict, model_name="half"))
        assert code is grpc.StatusCode.PERMISSION_DENIED
        assert service.ask("RepositoryModelUnload", admin, model_name="half").isUnloaded


def test_a_service_that_stops_is_not_ready(engine: FakeEngine) -> None:
    with serving(engine, draining=lambda: True) as service:
        assert service.ask("ServerLive").live
        assert not service.ask("ServerReady").ready


def test_while_the_first_models_load_it_says_so(engine: FakeEngine) -> None:
    loading = [True]
    with serving(engine, loading=lambda: loading[0]) as service:
        sent = infer_request().SerializeToString()
        assert service.ask("ServerLive").live
        assert not service.ask("ServerReady").ready
        assert not service.ask("ModelReady", name="half").ready
        for ask in (lambda: service.send("ModelInfer", sent), lambda: service.ask("ModelMetadata", name="half")):
            assert refused(ask)[0] is grpc.StatusCode.UNAVAILABLE
        [answer] = service.stream([sent])
        assert answer.error_message
        loading[0] = False
        assert service.ask("ServerReady").ready
        assert service.send("ModelInfer", sent).model_name == "half"
