"""In the place of tensorflow_model_server: its command line, its stubs and its JSON, over SavedModels of all sorts."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import requests

from service import protocol
from tests.e2e import processes
from tests.e2e.processes import PATIENCE_S, Server

CONFIG = """
model_config_list {
  config {
    name: "half_plus" base_path: "half_plus" model_platform: "tensorflow"
    model_version_policy { all {} }
    version_labels { key: "stable" value: 1 }
  }
  config { name: "tensorflow_1" base_path: "tensorflow_1" model_platform: "tensorflow" }
  config { name: "keras_export" base_path: "keras_export" model_platform: "tensorflow" }
  config { name: "texts" base_path: "texts" model_platform: "tensorflow" }
}
"""
MONITORING = 'prometheus_config { enable: true, path: "/monitoring/prometheus/metrics" }'
BATCHING = "max_batch_size { value: 8 } allowed_batch_sizes: 2 allowed_batch_sizes: 8"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = tmp_path_factory.mktemp("tf_serving") / "store"
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    made = subprocess.run(
        [sys.executable, "-m", "tests.e2e.make_models", store],
        cwd=Path(__file__).parents[2], env=environment, capture_output=True, text=True, timeout=PATIENCE_S, check=False,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    return store


@dataclass
class Running:
    """A server, and its stubs over its port and over its Unix socket."""

    server: Server
    prediction: Any
    model: Any
    log: Callable[[], str]

    def url(self, path: str) -> str:
        return f"{self.server.url}/v1/models/{path}"

    def post(self, path: str, **document: Any) -> requests.Response:
        return requests.post(self.url(path), json=document, timeout=60)

    def get(self, path: str) -> requests.Response:
        return requests.get(self.url(path), timeout=60)


@pytest.fixture(scope="module")
def running(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("tf_serving_run")
    (store / "my.config").write_text(CONFIG)
    (folder / "monitoring.config").write_text(MONITORING)
    (folder / "batching.config").write_text(BATCHING)
    arguments = (
        f"--model_config_file={store / 'my.config'}",
        "--model_config_file_poll_wait_seconds=1",
        f"--monitoring_config_file={folder / 'monitoring.config'}",
        "--enable_batching",
        f"--batching_parameters_file={folder / 'batching.config'}",
        f"--grpc_socket_path={folder / 'socket'}",
        "--grpc_channel_arguments=grpc.max_connection_age_ms=600000,grpc.keepalive_time_ms=60000",
        "--rest_api_num_threads=8",
        "--tensorflow_session_parallelism=1",
        "--enable_model_warmup=true",
        "--rest_api_enable_cors_support=true",
        "--mixed_precision=bfloat16",
        "--num_load_threads=4",
        "--flush_filesystem_caches=false",
    )
    with processes.serving(store, folder, *arguments) as server:
        # The service is ready with a version of each model; all of this one are to be asked.
        processes.wait_until(
            lambda: requests.get(f"{server.url}/v1/models/half_plus/versions/1", timeout=60).ok, server.log.read_text
        )
        processes.wait_until(
            lambda: "AVAILABLE" in requests.get(f"{server.url}/v1/models/half_plus/versions/1", timeout=60).text
        )
        with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            yield Running(
                server,
                protocol.prediction_service_pb2_grpc.PredictionServiceStub(channel),
                protocol.model_service_pb2_grpc.ModelServiceStub(channel),
                server.log.read_text,
            )


def example(x: float, **more: Any) -> Any:
    made = protocol.example_pb2.Example()
    made.features.feature["x"].float_list.value.append(x)
    if "name" in more:
        made.features.feature["name"].bytes_list.value.append(more["name"])
    return made


def asking(kind: type[Any], model: str, signature: str, *examples: Any) -> Any:
    request = kind()
    request.model_spec.name = model
    request.model_spec.signature_name = signature
    request.input.example_list.examples.extend(examples)
    return request


def predict_request(model: str, signature: str = "", **inputs: Any) -> Any:
    request = protocol.predict_pb2.PredictRequest()
    request.model_spec.name = model
    request.model_spec.signature_name = signature
    for name, values in inputs.items():
        request.inputs[name].CopyFrom(protocol.to_tensor_proto(values))
    return request


def outputs(answer: Any) -> dict[str, Any]:
    return {name: protocol.from_tensor_proto(tensor).tolist() for name, tensor in answer.outputs.items()}


def refusal(ask: Callable[[], Any]) -> tuple[str, str]:
    with pytest.raises(grpc.RpcError) as caught:
        ask()
    return caught.value.code().name, caught.value.details()  # type: ignore[attr-defined]


def floats(*values: float) -> Any:
    return np.array(values, np.float32)


class TestGrpc:
    def test_predict_by_version_and_label(self, running: Running) -> None:
        request = predict_request("half_plus", x=floats(1, 2))
        assert outputs(running.prediction.Predict(request, timeout=60)) == {"y": [2.5, 3.0]}
        request.model_spec.version_label = "stable"
        answer = running.prediction.Predict(request, timeout=60)
        assert list(answer.outputs["y"].float_val) == [1.5, 2.0]
        assert outputs(answer) == {"y": [1.5, 2.0]}
        assert answer.model_spec.version.value == 1
        request.model_spec.version.value = 2
        assert outputs(running.prediction.Predict(request, timeout=60)) == {"y": [2.5, 3.0]}

    @pytest.mark.parametrize("model", ["half_plus", "tensorflow_1"])
    def test_classify_regress_and_both_at_once(self, running: Running, model: str) -> None:
        given = [example(1), example(3, name=b"three")]
        classified = running.prediction.Classify(
            asking(protocol.classification_pb2.ClassificationRequest, model, "classify_x", *given), timeout=60
        )
        found = [[(each.label, each.score) for each in row.classes] for row in classified.result.classifications]
        assert (
            found
            == {
                "half_plus": [[("none", 2.5), ("0", -2.5)], [("three", 3.5), ("0", -3.5)]],
                "tensorflow_1": [[("small", 2.5)], [("large", 3.5)]],
            }[model]
        )
        regressed = running.prediction.Regress(
            asking(protocol.regression_pb2.RegressionRequest, model, "regress_x", *given), timeout=60
        )
        assert [each.value for each in regressed.result.regressions] == [2.5, 3.5]
        assert regressed.model_spec.signature_name == "regress_x"
        request = protocol.inference_pb2.MultiInferenceRequest()
        request.input.example_list.examples.extend(given)
        for method, signature in (("classify", "classify_x"), ("regress", "regress_x")):
            task = request.tasks.add(method_name=f"tensorflow/serving/{method}")
            task.model_spec.name, task.model_spec.signature_name = model, signature
        both = running.prediction.MultiInference(request, timeout=60)
        assert both.results[0].classification_result == classified.result
        assert both.results[1].regression_result == regressed.result

    def test_a_context_is_part_of_every_example(self, running: Running) -> None:
        request = protocol.classification_pb2.ClassificationRequest()
        request.model_spec.name, request.model_spec.signature_name = "half_plus", "classify_x"
        request.input.example_list_with_context.context.CopyFrom(example(0, name=b"all"))
        request.input.example_list_with_context.examples.extend([example(1), example(2)])
        answer = running.prediction.Classify(request, timeout=60)
        assert [row.classes[0].label for row in answer.result.classifications] == ["all", "all"]
        assert [row.classes[0].score for row in answer.result.classifications] == [2.5, 3.0]

    def test_several_inputs_and_outputs_and_an_output_filter(self, running: Running) -> None:
        inputs = {"text": np.array([b"a", b"\xff"], np.object_), "n": np.array([[1, 2], [3, 4]], np.int32)}
        request = predict_request("texts", **inputs)
        found = outputs(running.prediction.Predict(request, timeout=60))
        assert set(found) == {"joined", "raw_bytes", "length", "third"}
        assert found["joined"] == [b"a3", b"\xff7"]
        request.output_filter.extend(["length", "raw_bytes"])
        assert outputs(running.prediction.Predict(request, timeout=60)) == {
            "length": [1, 1],
            "raw_bytes": [b"a", b"\xff"],
        }

    def test_a_keras_export_and_a_signature_without_a_batch(self, running: Running) -> None:
        [name] = metadata(running, "keras_export")["serving_default"]["inputs"]
        request = predict_request("keras_export", **{name: np.array([[1, 2]], np.float32)})
        assert list(outputs(running.prediction.Predict(request, timeout=60)).values()) == [[[4.0]]]
        request = predict_request("texts", "scalar", x=np.float32(2)[()].reshape(()))
        [y] = outputs(running.prediction.Predict(request, timeout=60)).values()
        assert y[:2] == [2.0, float("inf")]

    def test_metadata_and_status(self, running: Running) -> None:
        request = protocol.get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
        request.model_spec.name = "half_plus"
        signatures = protocol.get_model_metadata_pb2.SignatureDefMap()
        running.prediction.GetModelMetadata(request, timeout=60).metadata["signature_def"].Unpack(signatures)
        assert signatures.signature_def["classify_x"].method_name == "tensorflow/serving/classify"
        status = protocol.get_model_status_pb2.GetModelStatusRequest()
        status.model_spec.name = "half_plus"
        found = running.model.GetModelStatus(status, timeout=60).model_version_status
        assert [(each.version, each.state, each.status.error_code) for each in found] == [(2, 30, 0), (1, 30, 0)]

    def test_errors_have_tf_servings_codes_and_texts(self, running: Running) -> None:
        ask = running.prediction.Predict
        x = floats(1)
        regress = asking(protocol.regression_pb2.RegressionRequest, "half_plus", "classify_x", example(1))
        empty = asking(protocol.regression_pb2.RegressionRequest, "half_plus", "regress_x")
        lacking = asking(
            protocol.regression_pb2.RegressionRequest, "half_plus", "regress_x", protocol.example_pb2.Example()
        )
        for ask_, code, says in (
            (lambda: ask(predict_request("none", x=x), timeout=60), "NOT_FOUND", "Servable not found for request"),
            (lambda: ask(predict_request("half_plus", "s", x=x), timeout=60), "FAILED_PRECONDITION", 'key "s" not'),
            (
                lambda: ask(predict_request("half_plus", z=x), timeout=60),
                "INVALID_ARGUMENT",
                "not found in signature: z",
            ),
            (lambda: ask(predict_request("half_plus", x=x, z=x), timeout=60), "INVALID_ARGUMENT", "Sent extra: {z}"),
            (lambda: running.prediction.Regress(regress, timeout=60), "FAILED_PRECONDITION", "one output"),
            (lambda: running.prediction.Regress(empty, timeout=60), "INVALID_ARGUMENT", "Input is empty."),
            (lambda: running.prediction.Regress(lacking, timeout=60), "INVALID_ARGUMENT", "Feature: x"),
        ):
            found = refusal(ask_)
            assert found[0] == code, found
            assert says in found[1]

    def test_a_unix_socket_answers_too(self, running: Running) -> None:
        path = running.server.log.parent / "socket"
        with grpc.insecure_channel(f"unix:{path}") as channel:
            stub = protocol.prediction_service_pb2_grpc.PredictionServiceStub(channel)
            assert outputs(stub.Predict(predict_request("half_plus", x=floats(1)), timeout=60)) == {"y": [2.5]}


def metadata(running: Running, path: str) -> dict[str, Any]:
    found: dict[str, Any] = running.get(f"{path}/metadata").json()["metadata"]["signature_def"]["signature_def"]
    return found


class TestRest:
    @pytest.mark.parametrize(("at", "b"), [("", 2), ("/versions/1", 1), ("/labels/stable", 1), ("/versions/2", 2)])
    def test_predict_classify_and_regress(self, running: Running, at: str, b: float) -> None:
        answer = running.post(f"half_plus{at}:predict", instances=[1.0, 2.0])
        assert answer.json() == {"predictions": [0.5 + b, 1.0 + b]}
        answer = running.post(f"half_plus{at}:predict", inputs={"x": [1.0]}, signature_name="serving_default")
        assert answer.json() == {"outputs": [0.5 + b]}
        answer = running.post(f"half_plus{at}:regress", signature_name="regress_x", examples=[{"x": 1.0}, {"x": [3.0]}])
        assert answer.json() == {"results": [0.5 + b, 1.5 + b]}
        answer = running.post(
            f"half_plus{at}:classify", signature_name="classify_x",
            context={"name": "c"}, examples=[{"x": 1.0, "n": 7}, {"x": 0.4, "name": {"b64": "YQ=="}}],
        )  # fmt: skip
        assert answer.json() == {
            "results": [
                [["c", 0.5 + b], ["7", -0.5 - b]],
                [["a", pytest.approx(0.2 + b)], ["0", pytest.approx(-0.2 - b)]],
            ]
        }

    def test_words_of_a_path_in_any_case(self, running: Running) -> None:
        url = f"{running.server.url}/V1/Models/half_plus/Labels/stable:Predict"
        assert requests.post(url, json={"instances": [1]}, timeout=60).json() == {"predictions": [1.5]}

    def test_json_of_strings_bytes_and_what_is_no_number(self, running: Running) -> None:
        answer = running.post(
            "texts:predict", instances=[{"text": "ä", "n": [1, 2]}, {"text": {"b64": "/w=="}, "n": [3, 4]}]
        )
        assert answer.json()["predictions"] == [
            {"joined": "ä3", "raw_bytes": {"b64": "w6Q="}, "length": 2, "third": pytest.approx([1 / 3, 2 / 3])},
            {"joined": {"b64": "/zc="}, "raw_bytes": {"b64": "/w=="}, "length": 1, "third": pytest.approx([1, 4 / 3])},
        ]  # fmt: skip
        answer = running.post("texts:predict", inputs=2.0, signature_name="scalar")
        assert re.fullmatch(r'\{"outputs":\[2.0,Infinity,-?NaN\]\}\n?', answer.text)

    def test_status_as_tf_serving_prints_it(self, running: Running) -> None:
        def status(version: int) -> dict[str, Any]:
            told = {"error_code": "OK", "error_message": ""}
            return {"version": str(version), "state": "AVAILABLE", "status": told}

        assert running.get("half_plus").json() == {"model_version_status": [status(2), status(1)]}
        assert running.get("half_plus/labels/stable").json() == {"model_version_status": [status(1)]}
        assert running.get("half_plus/versions/2").json() == {"model_version_status": [status(2)]}
        assert running.get("half_plus/versions/3").status_code == 404

    def test_metadata_as_tf_serving_prints_it(self, running: Running) -> None:
        answer = running.get("half_plus/versions/1/metadata").json()
        assert answer["model_spec"] == {"name": "half_plus", "signature_name": "", "version": "1"}
        regress = answer["metadata"]["signature_def"]["signature_def"]["regress_x"]
        assert regress["method_name"] == "tensorflow/serving/regress"
        assert regress["inputs"]["inputs"] == {
            "dtype": "DT_STRING",
            "tensor_shape": {"dim": [{"size": "-1", "name": ""}], "unknown_rank": False},
            "name": "regress_x_inputs:0",
        }

    def test_pages_of_any_origin_may_ask(self, running: Running) -> None:
        answer = requests.options(running.url("half_plus:predict"), timeout=60)
        assert answer.status_code == 200
        assert answer.headers["Access-Control-Allow-Origin"] == "*"


def test_prometheus_finds_tf_servings_metrics(running: Running, store: Path) -> None:
    running.post("half_plus:predict", instances=[1.0])
    running.prediction.Predict(predict_request("half_plus", x=floats(1)), timeout=60)
    page = requests.get(f"{running.server.url}/monitoring/prometheus/metrics", timeout=60).text
    assert re.search(r':tensorflow:serving:request_count\{model_name="half_plus",status="OK"\} \d+', page)
    labels = 'model_name="half_plus",API="predict",entrypoint="REST"'
    assert re.search(r":tensorflow:serving:request_latency_count\{" + labels + r"\} \d+", page)
    assert ":tensorflow:cc:saved_model:load_attempt_count" in page
    assert f'model_path="{store / "half_plus" / "2"}",status="success"' in page
    assert re.search(r":tensorflow:core:graph_runs\{\} \d+", page)


def test_what_is_not_needed_is_told_in_one_line_each(running: Running) -> None:
    lines = [line for line in running.log().splitlines() if "is not needed" in line]
    assert [line.split()[1] for line in lines] == ["--num_load_threads", "--flush_filesystem_caches"]


def test_a_warm_up_file_that_asks_for_what_there_is_not_keeps_the_version_out(store: Path, tmp_path: Path) -> None:
    base = tmp_path / "half"
    base.mkdir()
    version = base / "1"
    version.mkdir()
    for path in (store / "half_plus" / "2").rglob("*"):
        target = version / path.relative_to(store / "half_plus" / "2")
        target.mkdir(exist_ok=True) if path.is_dir() else target.write_bytes(path.read_bytes())
    proto = protocol.saved_model_pb2.SavedModel.FromString((version / "saved_model.pb").read_bytes())
    del proto.meta_graphs[0].signature_def["regress_x"]
    (version / "saved_model.pb").write_bytes(proto.SerializeToString())
    arguments = ("--model_name=half", f"--model_base_path={base}")
    with processes.serving(store, tmp_path, *arguments, ready=False) as server:
        processes.wait_until(
            lambda: "asks for the signature 'regress_x'" in server.log.read_text(), server.log.read_text
        )
    (tmp_path / "serve.log").unlink()
    with processes.serving(store, tmp_path, *arguments, "--enable_model_warmup=false") as server:
        answer = requests.post(f"{server.url}/v1/models/half:predict", json={"instances": [1]}, timeout=60)
        assert answer.json() == {"predictions": [2.5]}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--nosuch=1",), "No such option"),
        (("--enable_batching=perhaps",), "not a valid boolean"),
        (("--use_alts_credentials",), "no ALTS credentials"),
        (("--ssl_config_file=/none",), "/none can't be read"),
        (("--monitoring_config_file=/none",), "/none can't be read"),
        (("--grpc_channel_arguments=x",), "takes pairs"),
        (("--grpc_socket_path=/none/socket",), "its folder is missing"),
        (("--mixed_precision=int8",), "must be bfloat16"),
        (
            ("--model_config_file=FOLDER/bad.config",),
            "Error parsing text-format tensorflow.serving.ModelServerConfig",
        ),
    ],
)
def test_a_command_line_that_can_not_be_served_is_one_sentence(
    store: Path, tmp_path: Path, arguments: tuple[str, ...], says: str
) -> None:
    (tmp_path / "bad.config").write_text("improperly formatted file")
    arguments = tuple(each.replace("FOLDER", str(tmp_path)) for each in arguments)
    done = processes.run("serve", "--store", store, "--port=0", "--rest_api_port=0", *arguments)
    assert done.returncode == 2
    assert says in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_json_is_not_only_ours(running: Running) -> None:
    answer = requests.post(running.url("half_plus:predict"), data=b'{"instances": [1.0, Infinity]}', timeout=60)
    assert json.loads(answer.text) == {"predictions": [2.5, float("inf")]}
