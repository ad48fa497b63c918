"""What lies in deploy/ is valid, and names only what there is: flags, variables, routes, metrics, files."""

import itertools
import json
import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from fnmatch import fnmatch
from importlib import resources
from pathlib import Path
from typing import Any

import click
import jsonschema
import kubernetes_validate
import pytest
import yaml
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from service.commands import cli
from service.config import model_config, settings
from service.config.settings import Settings
from service.gateway.routes.metrics import Metrics
from service.interface import Queue
from service.objects import urls
from service.parts import monitoring_config
from service.process import gunicorn_app, supervisor
from tests.fakes import FakeEngine, classifier

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
COMPOSE = sorted(DEPLOY.glob("compose*.yaml"))
KUBERNETES = DEPLOY / "kubernetes"
KUSTOMIZATIONS = sorted(KUBERNETES.rglob("kustomization.yaml"))
# What Prometheus and histograms add to what a service exports.
FOREIGN_LABELS = {"instance", "job", "le"}


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def longest_stop_s() -> float:
    """Seconds that a stop of the service may take, whatever its shape."""
    return gunicorn_app.drain_s(Settings()) + 2 * supervisor._STOP_S


def check_serve(arguments: list[str]) -> None:
    """Fail where `signpost serve` would not take the arguments."""
    name, *flags = arguments
    command = cli.main.get_command(click.Context(cli.main), name)
    assert command is not None
    command.make_context(name, flags)


def check_variables(names: set[str]) -> None:
    """Fail where a variable looks like a setting and is none."""
    assert settings.unknown_variables(dict.fromkeys(names, "")) == []


# --- the image


def dockerfile(instruction: str) -> list[str]:
    text = re.sub(r"\\\n", " ", (ROOT / "Dockerfile").read_text())
    return re.findall(rf"^{instruction} (.*)$", text, re.MULTILINE)


def test_the_image_sets_only_settings() -> None:
    (environment,) = dockerfile("ENV")
    names = {each.partition("=")[0] for each in environment.split()}
    assert "SIGNPOST_STORE" in names
    check_variables(names)


def test_what_the_dockerfile_copies_reaches_the_builder() -> None:
    sources = {
        source.rstrip("/")
        for each in dockerfile("COPY")
        if "--from" not in each
        for source in [word for word in each.split() if not word.startswith("--")][:-1]
    }
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert sources == allowed
    assert all((ROOT / source).exists() for source in sources)


def test_files_that_are_no_python_are_installed_too() -> None:
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    listed = subprocess.run(["git", "ls-files", "service", "training"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("no git checkout")
    for name in listed.stdout.split():
        path = Path(name)
        if path.suffix not in (".py", ".md") and (ROOT / path).exists():
            known = [f"{package.replace('.', '/')}/{pattern}" for package in packages for pattern in packages[package]]
            assert any(fnmatch(name, pattern) for pattern in known), f"{name} is in no package-data"


# --- compose


@pytest.mark.parametrize("path", COMPOSE, ids=lambda path: path.name)
def test_compose_files_keep_to_the_specification(path: Path) -> None:
    schema = resources.files("check_jsonschema") / "builtin_schemas" / "vendor" / "compose-spec.json"
    jsonschema.validate(read(path), json.loads(schema.read_text()))


def compose_services() -> Iterator[tuple[str, dict[str, Any]]]:
    for path in COMPOSE:
        yield from read(path)["services"].items()


def test_compose_overlays_change_services_that_there_are() -> None:
    base = read(DEPLOY / "compose.yaml")["services"]
    assert {name for name, _ in compose_services()} == set(base)


def test_compose_mounts_what_there_is() -> None:
    for _, service in compose_services():
        for volume in service.get("volumes", ()):
            source = re.sub(r"\$\{\w+:-(.*?)\}", r"\1", volume).partition(":")[0]
            if source.startswith("."):
                assert (DEPLOY / source).exists(), source


def test_compose_calls_signpost_as_it_can_be_called() -> None:
    for _, service in compose_services():
        if service.get("image", "").startswith("signpost:") and "command" in service:
            check_serve(service["command"])
        check_variables(set(service.get("environment", ())))


def test_compose_hardens_every_service_and_lets_it_drain() -> None:
    for service in read(DEPLOY / "compose.yaml")["services"].values():
        assert service["read_only"]
        assert service["cap_drop"] == ["ALL"]
        assert service["tmpfs"] == ["/tmp"]
        if service["image"].startswith("signpost:"):
            assert int(service["stop_grace_period"].removesuffix("s")) > longest_stop_s()


def test_compose_publishes_nothing_to_the_world_by_default() -> None:
    ports = [port for _, service in compose_services() for port in service.get("ports", ())]
    assert ports
    assert all(port.replace("${ADDRESS:-127.0.0.1}", "127.0.0.1").startswith("127.0.0.1:") for port in ports)


def test_compose_gives_the_engine_a_gpu() -> None:
    engine = read(DEPLOY / "compose.gpu.yaml")["services"]["engine"]
    (device,) = engine["deploy"]["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "count": 1, "capabilities": ["gpu"]}


def test_the_stock_engine_serves_models_of_the_store_with_metrics_where_signpost_has_them() -> None:
    text = (DEPLOY / "tfserving" / "models.config").read_text()
    models = {each.name: each for each in model_config.parse(text, "models.config", DEPLOY)}
    assert all((ROOT / "model_store" / name).is_dir() for name in models)
    assert all(each.base_path == Path("/models", name) for name, each in models.items())
    assert monitoring_config.read_path(DEPLOY / "tfserving" / "monitoring.config") == "/metrics"


# --- what watches


def exported() -> dict[str, set[str]]:
    """The metrics of a gateway that has done everything once, with their labels."""
    metrics = Metrics(FakeEngine(classifier()))
    metrics.count("/v1", "m", "1", 200, {"total": 0.1})
    metrics.count_batch("m", 1, 1)
    metrics.count_images("m", 1, 1)
    metrics.count_comparison("m", "agree")
    metrics.note_queues({("m", 1): Queue(1)})
    families = text_string_to_metric_families(generate_latest(metrics).decode())
    return {sample.name: set(sample.labels) for family in families for sample in family.samples}


DASHBOARD = json.loads((DEPLOY / "grafana" / "dashboards" / "signpost.json").read_text())
QUERIES = [(panel["title"], target["expr"]) for panel in DASHBOARD["panels"] for target in panel["targets"]]


@pytest.mark.parametrize(("title", "query"), QUERIES, ids=[title for title, _ in QUERIES])
def test_the_dashboard_asks_for_metrics_and_labels_that_there_are(title: str, query: str) -> None:
    known = exported()
    asked = re.findall(r"\b((?:signpost|process)_\w+)\{([^}]*)\}", query)
    assert asked, title
    for metric, selectors in asked:
        assert metric in known
        assert set(re.findall(r"(\w+)\s*[=!]~?", selectors)) <= known[metric] | FOREIGN_LABELS
        for group in re.findall(r"by \(([^)]*)\)", query):
            assert {label.strip() for label in group.split(",")} <= known[metric] | FOREIGN_LABELS


def test_the_dashboards_variables_are_filled_by_metrics_that_there_are() -> None:
    for variable in DASHBOARD["templating"]["list"]:
        match = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["definition"])
        assert match
        assert match[2] in exported()[match[1]] | FOREIGN_LABELS


def test_the_dashboard_and_its_source_are_provisioned() -> None:
    (source,) = read(DEPLOY / "grafana" / "provisioning" / "datasources" / "prometheus.yaml")["datasources"]
    assert {panel["datasource"]["uid"] for panel in DASHBOARD["panels"]} == {source["uid"]}
    (provider,) = read(DEPLOY / "grafana" / "provisioning" / "dashboards" / "signpost.yaml")["providers"]
    grafana = read(DEPLOY / "compose.yaml")["services"]["grafana"]
    assert f"./grafana/dashboards:{provider['options']['path']}:ro" in grafana["volumes"]
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def test_prometheus_asks_services_that_there_are() -> None:
    services = read(DEPLOY / "compose.yaml")["services"]
    (job,) = read(DEPLOY / "prometheus.yml")["scrape_configs"]
    targets = [target.split(":") for each in job["static_configs"] for target in each["targets"]]
    assert targets
    assert all(service in services and int(port) == Settings().rest_api_port for service, port in targets)


# --- Kubernetes


def resource(kind: str) -> Any:
    return next(each for each in map(read, (KUBERNETES / "base").glob("*.yaml")) if each["kind"] == kind)


def container() -> Any:
    (only,) = resource("Deployment")["spec"]["template"]["spec"]["containers"]
    return only


def check_resource(manifest: dict[str, Any]) -> None:
    kubernetes_validate.validate(manifest, kubernetes_validate.latest_version(), strict=True)


@pytest.mark.parametrize("path", KUSTOMIZATIONS, ids=lambda path: path.parent.name)
def test_kustomizations_name_files_that_there_are(path: Path) -> None:
    kustomization = read(path)
    named = itertools.chain(
        kustomization.get("resources", ()),
        kustomization.get("components", ()),
        kustomization.get("configurations", ()),
        (patch["path"] for patch in kustomization.get("patches", ())),
    )
    files = {(path.parent / each).resolve() for each in named}
    assert files
    assert all(each.exists() for each in files)
    beside = set(path.parent.glob("*.yaml")) - {path}
    assert beside <= files, "a file that nothing names"


@pytest.mark.parametrize("path", sorted((KUBERNETES / "base").glob("*.yaml")), ids=lambda path: path.stem)
def test_resources_keep_to_kubernetes_schemas(path: Path) -> None:
    if path.name != "kustomization.yaml":
        check_resource(read(path))


def built(overlay: str) -> dict[str, Any]:
    """What kustomize makes of an overlay, by kind."""
    tool = next(
        ([name, *verb] for name, *verb in (["kustomize", "build"], ["kubectl", "kustomize"]) if _has(name)), None
    )
    if tool is None:
        pytest.skip("neither kustomize nor kubectl is here")
    command = [*tool, str(KUBERNETES / "overlays" / overlay)]
    made = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return {each["kind"]: each for each in yaml.safe_load_all(made)}


def _has(command: str) -> bool:
    return shutil.which(command) is not None


@pytest.mark.parametrize("overlay", ["cpu", "gpu"])
def test_overlays_keep_to_kubernetes_schemas(overlay: str) -> None:
    manifests = built(overlay)
    for manifest in manifests.values():
        check_resource(manifest)
    pod = manifests["Deployment"]["spec"]["template"]["spec"]
    (only,) = pod["containers"]
    assert only["image"] == f"signpost:{overlay}"
    assert only["resources"]["limits"]["memory"]
    check_variables({each["name"] for each in only["env"]})
    assert only["resources"]["limits"].get("nvidia.com/gpu") == (1 if overlay == "gpu" else None)
    claims = [volume for volume in pod["volumes"] if "persistentVolumeClaim" in volume]
    assert bool(claims) == ("PersistentVolumeClaim" in manifests) == (overlay == "gpu")


def test_probes_ask_the_right_routes() -> None:
    routes = {kind: container()[f"{kind}Probe"]["httpGet"]["path"] for kind in ("startup", "liveness", "readiness")}
    assert routes == {"startup": "/healthz", "liveness": "/healthz", "readiness": "/readyz"}


def test_a_pod_may_take_as_long_as_a_stop_can() -> None:
    (drain,) = [each.removeprefix("--drain-seconds=") for each in container()["args"] if "drain-seconds" in each]
    grace = resource("Deployment")["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    assert float(drain) > 0
    assert grace > float(drain) + longest_stop_s()


def test_a_pod_is_as_unprivileged_as_can_be() -> None:
    pod = resource("Deployment")["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert container()["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    writable = {mount["mountPath"] for mount in container()["volumeMounts"] if not mount.get("readOnly")}
    assert writable == {"/tmp"}


def test_the_service_does_not_set_settings_by_its_name() -> None:
    pod = resource("Deployment")["spec"]["template"]["spec"]
    # A service named signpost would otherwise set SIGNPOST_PORT to an address.
    assert pod["enableServiceLinks"] is False


def test_selectors_select_the_pods() -> None:
    labels = resource("Deployment")["spec"]["template"]["metadata"]["labels"].items()
    assert labels >= resource("Deployment")["spec"]["selector"]["matchLabels"].items()
    assert labels >= resource("Service")["spec"]["selector"].items()
    assert labels >= resource("PodDisruptionBudget")["spec"]["selector"]["matchLabels"].items()
    ports = {each["name"] for each in container()["ports"]}
    assert {each["targetPort"] for each in resource("Service")["spec"]["ports"]} == ports


def test_the_autoscaler_follows_a_metric_that_reaches_it() -> None:
    scaler = resource("HorizontalPodAutoscaler")["spec"]
    assert scaler["scaleTargetRef"]["name"] == resource("Deployment")["metadata"]["name"]
    (metric,) = scaler["metrics"]
    name = metric["pods"]["metric"]["name"]
    assert name in exported()
    (rule,) = read(KUBERNETES / "prometheus-adapter-values.yaml")["rules"]["custom"]
    assert rule["seriesQuery"].startswith(name + "{")
    assert "replicas" not in resource("Deployment")["spec"]


def test_a_store_from_s3_is_copied_where_the_pod_may_write_and_has_the_time() -> None:
    (component,) = read(KUBERNETES / "components" / "store-from-s3" / "deployment.yaml")["spec"]["template"]["spec"][
        "containers"
    ]
    variables = {each["name"]: each["value"] for each in component["env"]}
    check_variables(set(variables))
    assert urls.parse(variables["SIGNPOST_STORE"], "--store") is not None
    (mount,) = [each for each in component["volumeMounts"] if not each["readOnly"]]
    assert mount["mountPath"] in {each["mountPath"] for each in container()["volumeMounts"]}
    assert Path(variables["SIGNPOST_STORE_CACHE"]).parent == Path(mount["mountPath"])
    assert component["startupProbe"]["failureThreshold"] > container()["startupProbe"]["failureThreshold"]
