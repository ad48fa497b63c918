"""The real server and the real stubs, over an engine without TensorFlow."""

import json
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from service import errors, protocol
from service.errors import SettingsError
from service.interface import Array, Call
from service.rpc import config as grpc_config
from service.rpc.server import GrpcServer
from service.telemetry.serving_metrics import ServingMetrics
from tests.fakes import FakeEngine, FakeServable, signature, spec

STRINGS = spec("inputs", "DT_STRING", -1)


def run(inputs: Mapping[str, Array], call: Call) -> Mapping[str, Array]:
    rows = len(next(iter(inputs.values())))
    outputs: dict[str, Array] = {
        "y": np.arange(rows, dtype=np.float32),
        "text": np.array([b"t"] * rows, np.object_),
        "classes": np.array([[b"a", b"\xff" if call.signature_name == "bytes" else b"\xc3\xa4"]] * rows, np.object_),
        "scores": np.array([[0.25, 0.5]] * rows, np.float32),
        "outputs": np.arange(rows, dtype=np.float32),
    }
    wanted = {"classify": ("classes", "scores"), "bytes": ("classes", "scores"), "regress": ("outputs",)}
    return {name: outputs[name] for name in call.outputs or wanted.get(call.signature_name, ("y", "text"))}


SERVABLE = FakeServable(
    run,
    {
        "serving_default": signature([spec("x", "DT_FLOAT", -1)], [spec("y", "DT_FLOAT", -1)]),
        "classify": signature([STRINGS], [spec("classes", "DT_STRING", -1, 2), spec("scores", "DT_FLOAT", -1, 2)]),
        "bytes": signature([STRINGS], [spec("classes", "DT_STRING", -1, 2), spec("scores", "DT_FLOAT", -1, 2)]),
        "regress": signature([STRINGS], [spec("outputs", "DT_FLOAT", -1)]),
    },
    name="m",
    version=3,
)


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine(SERVABLE, labels={"stable": 3})


@pytest.fixture
def metrics() -> ServingMetrics:
    return ServingMetrics()


@pytest.fixture
def channel(engine: FakeEngine, metrics: ServingMetrics, tmp_path: Path) -> Iterator[grpc.Channel]:
    server = GrpcServer(
        engine,
        threads=4,
        default_deadline_s=60.0,
        max_message_bytes=1 << 20,
        metrics=metrics,
        channel_arguments=[("grpc.max_connection_age_ms", 60_000)],
    )
    server.start("127.0.0.1:0", tmp_path / "socket")
    with grpc.insecure_channel(f"unix:{tmp_path / 'socket'}") as channel:
        yield channel
    server.close(0)


@pytest.fixture
def stub(channel: grpc.Channel) -> Any:
    return protocol.prediction_service_pb2_grpc.PredictionServiceStub(channel)


def refused(ask: Callable[[], Any]) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as caught:
        ask()
    return caught.value.code(), caught.value.details()  # type: ignore[attr-defined]


def predict_request(name: str = "m", signature_name: str = "") -> Any:
    request = protocol.predict_pb2.PredictRequest()
    request.model_spec.name = name
    request.model_spec.signature_name = signature_name
    request.inputs["x"].CopyFrom(protocol.to_tensor_proto(np.array([1, 2], np.float32)))
    return request


def examples_request(kind: type[Any], signature_name: str) -> Any:
    request = kind()
    request.model_spec.name = "m"
    request.model_spec.signature_name = signature_name
    request.input.example_list.examples.add()
    request.input.example_list.examples.add()
    return request


def classify_request(signature_name: str = "classify") -> Any:
    return examples_request(protocol.classification_pb2.ClassificationRequest, signature_name)


def regress_request(signature_name: str = "regress") -> Any:
    return examples_request(protocol.regression_pb2.RegressionRequest, signature_name)


def multi_request(*tasks: tuple[str, str]) -> Any:
    request = protocol.inference_pb2.MultiInferenceRequest()
    request.input.example_list.examples.add()
    for method, signature_name in tasks:
        task = request.tasks.add(method_name=f"tensorflow/serving/{method}")
        task.model_spec.name = "m"
        task.model_spec.signature_name = signature_name
    return request


def test_predict_answers_numbers_and_strings(stub: Any) -> None:
    answer = stub.Predict(predict_request(), timeout=60)
    assert protocol.from_tensor_proto(answer.outputs["y"]).tolist() == [0, 1]
    assert protocol.from_tensor_proto(answer.outputs["text"]).tolist() == [b"t", b"t"]
    assert (answer.model_spec.name, answer.model_spec.version.value) == ("m", 3)
    assert answer.model_spec.signature_name == "serving_default"


def test_numbers_are_in_the_field_that_clients_read(stub: Any) -> None:
    answer = stub.Predict(predict_request(), timeout=60)
    assert list(answer.outputs["y"].float_val) == [0, 1]
    assert list(answer.outputs["text"].string_val) == [b"t", b"t"]
    answer = stub.Predict(predict_request(), timeout=60, metadata=(protocol.PREFERS_CONTENT, ("other", "1")))
    assert len(answer.outputs["y"].tensor_content) == 8


def test_output_filter_names_the_outputs(stub: Any) -> None:
    request = predict_request()
    request.output_filter.append("text")
    assert set(stub.Predict(request, timeout=60).outputs) == {"text"}


def test_classify_pairs_labels_and_scores(stub: Any) -> None:
    answer = stub.Classify(classify_request(), timeout=60)
    rows = [[(c.label, c.score) for c in row.classes] for row in answer.result.classifications]
    assert rows == [[("a", 0.25), ("ä", 0.5)]] * 2
    assert answer.model_spec.signature_name == "classify"
    assert answer.model_spec.version.value == 3


def test_a_label_that_is_not_utf_8_is_told_and_where_to_get_it(stub: Any) -> None:
    code, says = refused(lambda: stub.Classify(classify_request("bytes"), timeout=60))
    assert code is grpc.StatusCode.FAILED_PRECONDITION
    assert r"b'\xff' is not UTF-8" in says
    assert "call Predict" in says


def test_zero_rows_are_answered_by_zero_rows(stub: Any) -> None:
    request = predict_request()
    request.inputs["x"].CopyFrom(protocol.to_tensor_proto(np.zeros(0, np.float32)))
    answer = stub.Predict(request, timeout=60)
    found = {name: protocol.from_tensor_proto(tensor) for name, tensor in answer.outputs.items()}
    assert {name: (array.shape, array.dtype) for name, array in found.items()} == {
        "y": ((0,), np.dtype(np.float32)),
        "text": ((0,), np.dtype(np.object_)),
    }


def test_regress_answers_numbers(stub: Any) -> None:
    answer = stub.Regress(regress_request(), timeout=60)
    assert [each.value for each in answer.result.regressions] == [0, 1]


def test_multi_inference_answers_every_task_in_order(stub: Any) -> None:
    answer = stub.MultiInference(multi_request(("regress", "regress"), ("classify", "classify")), timeout=60)
    assert [each.WhichOneof("result") for each in answer.results] == ["regression_result", "classification_result"]
    assert [each.model_spec.signature_name for each in answer.results] == ["regress", "classify"]
    assert answer.results[0].regression_result.regressions[0].value == 0


@pytest.mark.parametrize(
    ("tasks", "code", "says"),
    [
        ((), grpc.StatusCode.INVALID_ARGUMENT, "ModelSpec has no name specified."),
        ((("regress", "regress"),) * 2, grpc.StatusCode.INVALID_ARGUMENT, "Duplicate evaluation of signature: regress"),
        ((("predict", "regress"),), grpc.StatusCode.INVALID_ARGUMENT, "Unsupported signature method_name"),
        ((("regress", "classify"),), grpc.StatusCode.FAILED_PRECONDITION, "Expected one output Tensor."),
        ((("regress", "other"),), grpc.StatusCode.INVALID_ARGUMENT, "No signature was found with the name: other"),
    ],
)
def test_tasks_that_do_not_fit_are_told(stub: Any, tasks: Any, code: grpc.StatusCode, says: str) -> None:
    found = refused(lambda: stub.MultiInference(multi_request(*tasks), timeout=60))
    assert found[0] is code
    assert says in found[1]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda task: task.model_spec.ClearField("name"), "Found ModelSpec with an empty model name."),
        (lambda task: setattr(task.model_spec, "name", "n"), "must access the same model name."),
    ],
)
def test_tasks_are_of_one_model(stub: Any, change: Callable[[Any], None], says: str) -> None:
    request = multi_request(("regress", "regress"), ("classify", "classify"))
    change(request.tasks[1])
    assert refused(lambda: stub.MultiInference(request, timeout=60)) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        says if says.startswith("Found") else f"All ModelSpecs in a MultiInferenceRequest {says}",
    )


@pytest.mark.parametrize(
    ("request_", "method", "code", "says"),
    [
        (predict_request("n"), "Predict", grpc.StatusCode.NOT_FOUND, "Servable not found for request: Latest(n)"),
        (predict_request(""), "Predict", grpc.StatusCode.INVALID_ARGUMENT, "ModelSpec has no name specified."),
        (predict_request("m", "o"), "Predict", grpc.StatusCode.FAILED_PRECONDITION, 'signature key "o" not found'),
        (classify_request("o"), "Classify", grpc.StatusCode.INVALID_ARGUMENT, "No signature was found with the name"),
        (classify_request(""), "Classify", grpc.StatusCode.FAILED_PRECONDITION, "No classification inputs found"),
        (regress_request("classify"), "Regress", grpc.StatusCode.FAILED_PRECONDITION, "Expected one output Tensor."),
    ],
)
def test_what_can_not_be_asked_is_told(stub: Any, request_: Any, method: str, code: Any, says: str) -> None:
    found = refused(lambda: getattr(stub, method)(request_, timeout=60))
    assert found[0] is code
    assert says in found[1]


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (errors.TooLarge("t"), grpc.StatusCode.INVALID_ARGUMENT),
        (errors.Unavailable("t"), grpc.StatusCode.UNAVAILABLE),
        (errors.Overloaded("t", 1.0), grpc.StatusCode.UNAVAILABLE),
        (errors.DeadlineExceeded("t"), grpc.StatusCode.DEADLINE_EXCEEDED),
        (errors.Abandoned("t"), grpc.StatusCode.CANCELLED),
        (errors.ModelFailed("t"), grpc.StatusCode.INTERNAL),
    ],
)
def test_our_errors_have_codes(stub: Any, engine: FakeEngine, fault: Exception, code: grpc.StatusCode) -> None:
    engine.fault = fault
    assert refused(lambda: stub.Predict(predict_request(), timeout=60)) == (code, "t")


def test_the_text_of_an_unforeseen_error_stays_in_the_log(stub: Any, engine: FakeEngine, caplog: Any) -> None:
    engine.fault = RuntimeError("secret")
    code, details = refused(lambda: stub.Predict(predict_request(), timeout=60))
    assert code is grpc.StatusCode.INTERNAL
    assert "secret" not in details
    assert "secret" in caplog.text


def test_metadata_tells_the_signatures(stub: Any) -> None:
    request = protocol.get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = "m"
    answer = stub.GetModelMetadata(request, timeout=60)
    found = protocol.get_model_metadata_pb2.SignatureDefMap()
    answer.metadata["signature_def"].Unpack(found)
    assert set(found.signature_def) == set(SERVABLE.signatures)
    for fields, says in (([], "at least one metadata_field"), (["x"], "Metadata field x is not supported")):
        del request.metadata_field[:]
        request.metadata_field.extend(fields)
        code, details = refused(lambda: stub.GetModelMetadata(request, timeout=60))
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        assert says in details


def test_status_by_version_and_label(channel: grpc.Channel) -> None:
    stub = protocol.model_service_pb2_grpc.ModelServiceStub(channel)
    request = protocol.get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = "m"
    for choose in (None, lambda: setattr(request.model_spec, "version_label", "stable")):
        if choose is not None:
            choose()
        [found] = stub.GetModelStatus(request, timeout=60).model_version_status
        assert (found.version, found.state, found.status.error_code) == (3, 30, 0)
    request.model_spec.version.value = 4
    assert refused(lambda: stub.GetModelStatus(request, timeout=60)) == (
        grpc.StatusCode.NOT_FOUND, "Could not find version 4 of model m; it has 3.",
    )  # fmt: skip
    request.model_spec.Clear()
    request.model_spec.name = "n"
    assert refused(lambda: stub.GetModelStatus(request, timeout=60)) == (
        grpc.StatusCode.NOT_FOUND, "Could not find any versions of model n; GET /v1/models lists what there is.",
    )  # fmt: skip


def test_another_configuration_is_put_in_place(engine: FakeEngine) -> None:
    asked: list[tuple[Any, float]] = []

    def reload(config: Any, timeout_s: float) -> None:
        if not config.model_config_list.config:
            raise SettingsError("none")
        asked.append((config, timeout_s))

    server = GrpcServer(engine, threads=1, default_deadline_s=60.0, max_message_bytes=1 << 20, reload=reload)
    port = server.start("127.0.0.1:0")
    request = protocol.model_management_pb2.ReloadConfigRequest()
    try:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            stub = protocol.model_service_pb2_grpc.ModelServiceStub(channel)
            found = refused(lambda: stub.HandleReloadConfigRequest(request, timeout=60))
            assert found == (grpc.StatusCode.INVALID_ARGUMENT, "none")
            request.config.model_config_list.config.add(name="m", base_path="/m")
            assert stub.HandleReloadConfigRequest(request, timeout=60).status.error_code == 0
            stub.HandleReloadConfigRequest(request)
    finally:
        server.close(0)
    assert [config for config, _ in asked] == [request.config] * 2
    assert asked[0][1] < 100
    assert asked[1][1] > 100


def test_where_the_configuration_can_not_be_changed_that_is_told(channel: grpc.Channel) -> None:
    stub = protocol.model_service_pb2_grpc.ModelServiceStub(channel)
    request = protocol.model_management_pb2.ReloadConfigRequest()
    assert refused(lambda: stub.HandleReloadConfigRequest(request, timeout=60))[0] is grpc.StatusCode.UNIMPLEMENTED


def test_calls_are_counted_by_models_that_there_are(stub: Any, metrics: ServingMetrics) -> None:
    stub.Predict(predict_request(), timeout=60)
    stub.Classify(classify_request(), timeout=60)
    refused(lambda: stub.Regress(regress_request("classify"), timeout=60))
    refused(lambda: stub.Predict(predict_request("n"), timeout=60))
    until = time.monotonic() + 60
    while ':request_count{model_name="m",status="FAILED_PRECONDITION"} 1' not in metrics.text():
        assert time.monotonic() < until
    page = metrics.text()
    assert ':tensorflow:serving:request_count{model_name="m",status="OK"} 2' in page
    assert ':tensorflow:serving:request_latency_count{model_name="m",API="Classify",entrypoint="GRPC"} 1' in page
    assert ':tensorflow:serving:runtime_latency_count{model_name="m",API="Predict",runtime="TF1"} 1' in page
    assert ':tensorflow:serving:request_example_count_total{model="m"} 2' in page
    assert '"n"' not in page


def test_an_address_in_use_is_told(engine: FakeEngine, tmp_path: Path) -> None:
    server = GrpcServer(engine, threads=1, default_deadline_s=60.0, max_message_bytes=1 << 20)
    with pytest.raises(SettingsError, match="--grpc_socket_path"):
        server.start("127.0.0.1:0", tmp_path / "missing" / "socket")


@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes a certificate with openssl")
def test_with_a_file_for_tls_it_speaks_tls_only(engine: FakeEngine, tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        [
            "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
            "-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", certificate,
        ],
        check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    config = tmp_path / "ssl.config"
    config.write_text(f"server_key: {json.dumps(key.read_text())} server_cert: {json.dumps(certificate.read_text())}")
    server = GrpcServer(
        engine,
        threads=1,
        default_deadline_s=60.0,
        max_message_bytes=1 << 20,
        credentials=grpc_config.credentials(grpc_config.read_tls(config)),
    )
    port = server.start("127.0.0.1:0")
    try:
        trusted = grpc.ssl_channel_credentials(certificate.read_bytes())
        target = (("grpc.ssl_target_name_override", "localhost"),)
        with grpc.secure_channel(f"127.0.0.1:{port}", trusted, target) as channel:
            stub = protocol.prediction_service_pb2_grpc.PredictionServiceStub(channel)
            assert stub.Predict(predict_request(), timeout=60).model_spec.version.value == 3
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            stub = protocol.prediction_service_pb2_grpc.PredictionServiceStub(channel)
            assert refused(lambda: stub.Predict(predict_request(), timeout=60))[0] is grpc.StatusCode.UNAVAILABLE
    finally:
        server.close(0)
