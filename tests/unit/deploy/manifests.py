"""Manifests as they are applied, and what they are held to."""

import gzip
import json
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

ROOT = Path(__file__).parents[3]
DEPLOY = ROOT / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
CRDS = Path(__file__).with_name("crds")

Json = dict[str, Any]


@cache
def validator(kind: str) -> jsonschema.Draft202012Validator:
    """What holds a resource to its schema, made strict: what it does not name is an error, as for `kubectl apply`."""
    schema = _strict(json.loads(gzip.decompress((CRDS / f"{kind}.json.gz").read_bytes())))
    schema["properties"]["metadata"] = {"type": "object"}  # Kubernetes' own
    return jsonschema.Draft202012Validator(schema)


def _strict(part: Any) -> Any:
    if isinstance(part, list):
        return [_strict(each) for each in part]
    if not isinstance(part, dict):
        return part
    made = {key: _strict(value) for key, value in part.items()}
    open_to_all = made.get("x-kubernetes-preserve-unknown-fields") or "additionalProperties" in made
    if made.get("type") == "object" and "properties" in made and not open_to_all:
        made["additionalProperties"] = False
    return made


def check(manifest: Json) -> None:
    """Fail where a manifest does not keep to its schema, be it Kubernetes' own or one of `crds`."""
    if (CRDS / f"{manifest['kind']}.json.gz").exists():
        validator(manifest["kind"]).validate(manifest)
    else:
        kubernetes_validate.validate(manifest, kubernetes_validate.latest_version(), strict=True)


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def built(folder: Path) -> dict[tuple[str, str], Json]:
    """What kustomize makes of a folder, by kind and name; skips the test where there is none."""
    tools = (["kustomize", "build"], ["kubectl", "kustomize"])
    tool = next((tool for tool in tools if shutil.which(tool[0])), None)
    if tool is None:
        pytest.skip("neither kustomize nor kubectl is here")
    done = subprocess.run([*tool, folder], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return {(each["kind"], each["metadata"]["name"]): each for each in yaml.safe_load_all(done.stdout)}


def containers(manifest: Json) -> Iterator[Json]:
    """The containers of a deployment's pods."""
    yield from manifest["spec"]["template"]["spec"]["containers"]


def environment(container: Json) -> dict[str, str]:
    """Its variables."""
    return {each["name"]: each["value"] for each in container.get("env", ())}
