"""`args` of `serve.yaml` become the settings of a replica."""

from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from service.config.settings import Settings
from service.errors import SettingsError
from service.ray_serve import options

DEPLOY = Path(__file__).parents[4] / "deploy" / "ray"


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in options.known():
        monkeypatch.delenv(f"SIGNPOST_{name.upper()}", raising=False)


def test_args_are_settings_in_the_types_of_yaml() -> None:
    args = yaml.safe_load("{store: /models, max_batch_size: 64, access_log: true, recheck_share: 0.5, api_keys: 'a,b'}")
    settings = options.read(args)
    assert (settings.store, settings.max_batch_size, settings.access_log) == (Path("/models"), 64, True)
    assert (settings.recheck_share, settings.api_keys) == (0.5, "a,b")


def test_variables_count_where_args_say_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGNPOST_STORE", "/elsewhere")
    monkeypatch.setenv("SIGNPOST_MAX_BATCH_SIZE", "8")
    settings = options.read({"store": "/models"})
    assert (settings.store, settings.max_batch_size) == (Path("/models"), 8)


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ({"stor": "/models"}, "'stor' is not a setting of a replica"),
        ({"port": 8500}, "'port' is not a setting of a replica"),
        ({"store": ["/models"]}, "store must be text, a number or a boolean"),
        ({"max_batch_size": None}, "max_batch_size must be text, a number or a boolean"),
        ({"max_batch_size": "many"}, "'many' is not a valid integer"),
        ({"max_batch_size": 0}, "must be between 1 and 65536"),
        ({"canary_mode": "sometimes"}, "--canary-mode must be route or shadow"),
    ],
)
def test_wrong_args_are_told_in_a_sentence(args: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingsError) as told:
        options.read(args)
    assert says in str(told.value)
    assert "\n" not in str(told.value)


def test_a_replica_uses_the_cpus_that_ray_has_set_aside() -> None:
    settings = options.for_replica(Settings(store=Path("/models")), cpus=4.0)
    assert (settings.engine, settings.workers, settings.threads, settings.tensorflow_threads) == ("local", 1, 16, 4)
    assert options.for_replica(Settings(store=Path("/models")), cpus=0.5).tensorflow_threads == 1
    assert options.for_replica(Settings(store=Path("/m"), tensorflow_threads=2), cpus=4).tensorflow_threads == 2


def test_the_folder_of_the_models_is_named_in_full() -> None:
    with pytest.raises(SettingsError, match=r"The folder of the models \(model_store\) must start with /"):
        options.for_replica(Settings(), cpus=1)
    assert options.for_replica(Settings(model_base_path=Path("/mnt/models")), cpus=1)
    with pytest.raises(SettingsError, match="can't read s3://bucket/models directly; mount it"):
        options.for_replica(options.read({"store": "s3://bucket/models"}), cpus=1)


def test_the_shipped_file_has_args_that_can_be_read() -> None:
    [application] = yaml.safe_load((DEPLOY / "serve.yaml").read_text())["applications"]
    assert options.for_replica(options.read(application["args"]), cpus=1).store == Path("/models")


def test_the_manifest_for_kubernetes_has_the_same_application_in_pods_that_are_valid() -> None:
    spec = yaml.safe_load((DEPLOY / "rayservice.yaml").read_text())["spec"]
    inside, file = yaml.safe_load(spec["serveConfigV2"]), yaml.safe_load((DEPLOY / "serve.yaml").read_text())
    assert inside.pop("http_options") == {**file.pop("http_options"), "host": "0.0.0.0"}
    assert inside == file
    cluster = spec["rayClusterConfig"]
    [workers] = cluster["workerGroupSpecs"]
    for group in (cluster["headGroupSpec"], workers):
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, **group["template"]}
        kubernetes_validate.validate(pod, kubernetes_validate.latest_version(), strict=True)
    ports = {each["name"]: each["containerPort"] for each in workers["template"]["spec"]["containers"][0]["ports"]}
    assert ports["grpc"] == inside["grpc_options"]["port"] == spec["serveService"]["spec"]["ports"][0]["port"]
    scaling = inside["applications"][0]["deployments"][0]["autoscaling_config"]
    assert (workers["minReplicas"], workers["maxReplicas"]) == (scaling["min_replicas"], scaling["max_replicas"])
