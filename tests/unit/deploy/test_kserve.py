"""The manifests for KServe keep to its schemas, and their command lines and probes are Signpost's."""

from copy import deepcopy
from typing import Any

import jsonschema
import pytest

from service import gateway
from service.commands import cli
from service.config.settings import Settings
from service.gateway.routes.metrics import Metrics
from service.process import gunicorn_app, supervisor
from service.security.access import Access
from tests.fakes import FakeEngine, classifier
from tests.unit.deploy.manifests import DEPLOY, check, read

FILES = sorted((DEPLOY / "kserve").glob("*.yaml"))
MANIFESTS = {path.stem: read(path) for path in FILES}
RUNTIMES = {name: each for name, each in MANIFESTS.items() if each["kind"] == "ClusterServingRuntime"}
SERVICES = {name: each for name, each in MANIFESTS.items() if each["kind"] == "InferenceService"}


def container(runtime: dict[str, Any]) -> Any:
    [only] = runtime["spec"]["containers"]
    return only


def predictors(service: dict[str, Any]) -> list[Any]:
    return [service["spec"]["predictor"], *(each["predictor"] for each in service["spec"].get("canary", ()))]


def test_there_is_one_of_each() -> None:
    assert set(RUNTIMES) == {"runtime-cpu", "runtime-gpu"}
    assert set(SERVICES) == {"plain", "grpc", "autoscaled", "canary"}


@pytest.mark.parametrize("name", MANIFESTS)
def test_manifests_keep_to_kserves_schemas(name: str) -> None:
    check(MANIFESTS[name])


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("runtime-cpu", ("spec",)),
        ("runtime-cpu", ("spec", "containers", 0)),
        ("runtime-gpu", ("spec", "containers", 0, "readinessProbe", "httpGet")),
        ("plain", ("spec", "predictor")),
        ("plain", ("spec", "predictor", "model")),
        ("autoscaled", ("spec", "predictor", "autoScaling", "metrics", 0, "external", "metric")),
        ("canary", ("spec", "canary", 0)),
        ("canary", ("spec", "canary", 0, "predictor", "model", "modelFormat")),
    ],
)
def test_a_planted_typo_is_found(name: str, path: tuple[str | int, ...]) -> None:
    manifest = deepcopy(MANIFESTS[name])
    part = manifest
    for step in path:
        part = part[step]
    part["typo"] = "x"
    with pytest.raises(jsonschema.ValidationError, match="'typo' was unexpected"):
        check(manifest)


def test_a_value_of_the_wrong_type_is_found() -> None:
    manifest = deepcopy(MANIFESTS["plain"])
    manifest["spec"]["predictor"]["minReplicas"] = "two"
    with pytest.raises(jsonschema.ValidationError, match="'two' is not of type 'integer'"):
        check(manifest)


@pytest.mark.parametrize("name", RUNTIMES)
def test_the_runtimes_command_line_is_one_that_serve_takes(name: str) -> None:
    subcommand, *flags = container(RUNTIMES[name])["args"]
    command = cli.main.commands[subcommand]
    taken = command.make_context(subcommand, [each.replace("{{.Name}}", "cats-vs-dogs") for each in flags]).params
    assert (taken["host"], taken["rest_api_port"], taken["port"]) == ("0.0.0.0", 8080, 9000)
    assert str(taken["model_base_path"]) == "/mnt/models"
    assert taken["require_gpu"] == (name == "runtime-gpu")


@pytest.mark.parametrize("name", RUNTIMES)
def test_its_probes_ask_routes_that_there_are(name: str) -> None:
    engine = FakeEngine(classifier())
    client = gateway.create_app(
        Settings(), engine, Metrics(engine), admits=Access(), why_not_ready=lambda: ""
    ).test_client()
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        http = container(RUNTIMES[name])[probe]["httpGet"]
        assert http["port"] == 8080
        assert client.get(http["path"]).status_code == 200
    engine.fault, engine.states = RuntimeError(), {}
    assert client.get(container(RUNTIMES[name])["readinessProbe"]["httpGet"]["path"]).status_code != 200
    assert client.get(container(RUNTIMES[name])["livenessProbe"]["httpGet"]["path"]).status_code == 200
    annotations = RUNTIMES[name]["spec"]["annotations"]
    assert client.get(annotations["prometheus.kserve.io/path"]).status_code == 200


@pytest.mark.parametrize("name", SERVICES)
def test_services_name_a_runtime_and_a_protocol_that_it_has_and_may_drain(name: str) -> None:
    known = {each["metadata"]["name"]: each["spec"] for each in RUNTIMES.values()}
    drain = next(each for each in container(RUNTIMES["runtime-cpu"])["args"] if each.startswith("--drain-seconds="))
    longest_s = float(drain.partition("=")[2]) + gunicorn_app.drain_s(Settings()) + 2 * supervisor._STOP_S
    for predictor in predictors(SERVICES[name]):
        model = predictor["model"]
        runtime = known[model["runtime"]]
        assert model["protocolVersion"] in runtime["protocolVersions"]
        formats = {each["name"] for each in runtime["supportedModelFormats"]}
        assert model["modelFormat"]["name"] in formats
        assert predictor["enableServiceLinks"] is False
        assert predictor["terminationGracePeriodSeconds"] > longest_s


def test_both_ports_of_the_service_with_grpc_are_those_that_the_runtime_listens_on() -> None:
    ports = {each["name"]: each["containerPort"] for each in predictors(SERVICES["grpc"])[0]["model"]["ports"]}
    flags = dict(each.removeprefix("--").split("=") for each in container(RUNTIMES["runtime-cpu"])["args"][1:])
    assert ports == {"http": int(flags["rest_api_port"]), "h2c": int(flags["port"])}
