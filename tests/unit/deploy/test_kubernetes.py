"""The fleet's overlay, and the components for what Kubernetes does not have by itself."""

import shutil
from copy import deepcopy
from pathlib import Path

import jsonschema
import pytest

from service.config import settings
from service.config.settings import Settings
from tests.unit.deploy.manifests import KUBERNETES, Json, built, check, containers, environment, read

FLEET = KUBERNETES / "overlays" / "fleet"


@pytest.fixture(scope="module")
def fleet() -> dict[tuple[str, str], Json]:
    return built(FLEET)


def with_components(folder: Path, at: str, *names: str) -> dict[tuple[str, str], Json]:
    """The overlay fleet after somebody has added components to one of its kustomizations."""
    shutil.copytree(KUBERNETES, folder, dirs_exist_ok=True)
    path = folder / "overlays" / "fleet" / at / "kustomization.yaml"
    up = "../" * (2 if at == "." else 3)
    path.write_text(f"{path.read_text()}components:\n" + "".join(f"  - {up}components/{name}\n" for name in names))
    return built(folder / "overlays" / "fleet")


def test_the_fleet_keeps_to_kubernetes_schemas_and_names_settings_only(fleet: dict[tuple[str, str], Json]) -> None:
    for manifest in fleet.values():
        check(manifest)
    for name in ("signpost-gateway", "signpost-engine"):
        [container] = containers(fleet["Deployment", name])
        assert container["image"] == "signpost:gpu"
        assert settings.unknown_variables(environment(container)) == []


def test_gateways_ask_for_every_address_of_the_engines_headless_service(fleet: dict[tuple[str, str], Json]) -> None:
    [gateway] = containers(fleet["Deployment", "signpost-gateway"])
    [address] = Settings(engine=environment(gateway)["SIGNPOST_ENGINE"]).engine_addresses
    _, name, port = address.split(":")
    service = fleet["Service", name]
    assert service["spec"]["clusterIP"] == "None"
    [named] = [each["targetPort"] for each in service["spec"]["ports"] if each["port"] == int(port)]
    [engine] = containers(fleet["Deployment", "signpost-engine"])
    assert {each["name"]: each["containerPort"] for each in engine["ports"]}[named] == int(port) == Settings().port
    assert environment(engine)["SIGNPOST_ENGINE"] == "local"


def test_only_engines_have_a_gpu_a_store_and_grpc(fleet: dict[tuple[str, str], Json]) -> None:
    [gateway], [engine] = (containers(fleet["Deployment", f"signpost-{name}"]) for name in ("gateway", "engine"))
    assert engine["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert "nvidia.com/gpu" not in gateway["resources"]["limits"]
    assert [each["name"] for each in gateway["ports"]] == ["http"]
    assert [each["name"] for each in fleet["Service", "signpost-gateway"]["spec"]["ports"]] == ["http"]
    assert [each["mountPath"] for each in gateway["volumeMounts"]] == ["/tmp"]
    volumes = fleet["Deployment", "signpost-engine"]["spec"]["template"]["spec"]["volumes"]
    [claim] = [each["persistentVolumeClaim"]["claimName"] for each in volumes if "persistentVolumeClaim" in each]
    assert [name for kind, name in fleet if kind == "PersistentVolumeClaim"] == [claim]


@pytest.mark.parametrize("name", ["signpost-gateway", "signpost-engine"])
def test_each_side_is_selected_scaled_and_kept_up_by_itself(fleet: dict[tuple[str, str], Json], name: str) -> None:
    """Where both sides come from one base and only one is renamed, kustomize points both autoscalers at that one."""
    assert fleet["HorizontalPodAutoscaler", name]["spec"]["scaleTargetRef"]["name"] == name
    pods = fleet["Deployment", name]["spec"]["template"]["metadata"]["labels"]
    selectors = {
        "Deployment": fleet["Deployment", name]["spec"]["selector"]["matchLabels"],
        "Service": fleet["Service", name]["spec"]["selector"],
        "PodDisruptionBudget": fleet["PodDisruptionBudget", name]["spec"]["selector"]["matchLabels"],
    }
    assert pods["app.kubernetes.io/component"] == name.removeprefix("signpost-")
    assert all(selector == pods for selector in selectors.values())


def test_with_keda_the_engines_are_scaled_by_it_alone(tmp_path: Path) -> None:
    made = with_components(tmp_path, "engines", "keda")
    scaled = made["ScaledObject", "signpost-engine"]
    check(scaled)
    assert scaled["spec"]["scaleTargetRef"]["name"] == "signpost-engine"
    assert ("HorizontalPodAutoscaler", "signpost-engine") not in made
    assert ("HorizontalPodAutoscaler", "signpost-gateway") in made


def test_keda_follows_the_autoscaler_that_it_replaces() -> None:
    scaled = read(KUBERNETES / "components" / "keda" / "scaledobject.yaml")["spec"]
    before = read(KUBERNETES / "base" / "autoscaler.yaml")["spec"]
    assert (scaled["minReplicaCount"], scaled["maxReplicaCount"]) == (before["minReplicas"], before["maxReplicas"])
    assert scaled["advanced"]["horizontalPodAutoscalerConfig"]["behavior"] == before["behavior"]
    [trigger], [metric] = scaled["triggers"], before["metrics"]
    assert metric["pods"]["metric"]["name"] in trigger["metadata"]["query"]
    assert trigger["metadata"]["threshold"] == metric["pods"]["target"]["averageValue"]


def test_the_pod_monitor_finds_the_pods_of_both_sides(tmp_path: Path) -> None:
    made = with_components(tmp_path, ".", "pod-monitor")
    monitor = made["PodMonitor", "signpost"]
    check(monitor)
    selector = monitor["spec"]["selector"]["matchLabels"].items()
    for name in ("signpost-gateway", "signpost-engine"):
        deployment = made["Deployment", name]
        assert deployment["spec"]["template"]["metadata"]["labels"].items() >= selector
        [container] = containers(deployment)
        [endpoint] = monitor["spec"]["podMetricsEndpoints"]
        assert endpoint["port"] in {each["name"] for each in container["ports"]}
    assert endpoint["path"] == "/metrics"


def test_an_image_is_mounted_as_the_store_without_a_claim(tmp_path: Path) -> None:
    made = with_components(tmp_path, "engines", "store-image-volume")
    for manifest in made.values():
        check(manifest)
    volumes = made["Deployment", "signpost-engine"]["spec"]["template"]["spec"]["volumes"]
    [store] = [each for each in volumes if each["name"] == "store"]
    assert set(store) == {"name", "image"}
    assert "PersistentVolumeClaim" not in {kind for kind, _ in made}


@pytest.mark.parametrize(
    ("file", "at"),
    [
        ("keda/scaledobject.yaml", ("spec", "triggers", 0)),
        ("keda/scaledobject.yaml", ("spec", "fallback")),
        ("pod-monitor/podmonitor.yaml", ("spec", "podMetricsEndpoints", 0)),
    ],
)
def test_a_planted_typo_is_found(file: str, at: tuple[str | int, ...]) -> None:
    manifest = deepcopy(read(KUBERNETES / "components" / file))
    check(manifest)
    part = manifest
    for step in at:
        part = part[step]
    part["typo"] = "x"
    with pytest.raises(jsonschema.ValidationError, match="'typo' was unexpected"):
        check(manifest)
