"""What `signpost models list` tells: the versions in a store, and what a service that runs makes of them."""

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from rich.table import Table

from service import store
from service.commands.client import Client, Json
from service.config.model_config import ModelConfig, wanted_versions
from service.errors import SettingsError, SignpostError, StoreError
from service.interface import REFERENCE

# Seconds for which a service may be silent: it is only asked what it serves.
_TIMEOUT_S: Final = 5.0
_AVAILABLE: Final = "AVAILABLE"
_IN_WORDS: Final = {"default": "by default", "wanted": "on request", "": "no"}
_STATES: Final = {"START": "loading", "LOADING": "loading", "UNLOADING": "unloading", "END": "failed"}


@dataclass(frozen=True)
class Served:
    """What a service says of its models.

    Attributes:
        versions: for each model the state of its versions and their errors.
        runtimes: what runs each version, by model and version.
        defaults: for each model the version that answers where none is named.
        labels: of each model.
    """

    versions: Mapping[str, Mapping[int, tuple[str, str]]]
    defaults: Mapping[str, int] = field(default_factory=dict)
    labels: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    runtimes: Mapping[tuple[str, int], Json] = field(default_factory=dict)


def address(environment: Mapping[str, str]) -> str:
    """Where a service listens that is told nothing but these variables."""

    def told(name: str, default: str) -> str:
        return environment.get(f"SIGNPOST_{name}") or default

    host, port = told("HOST", "127.0.0.1"), told("REST_API_PORT", "8501")
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    if port == "0":  # a free one was picked
        try:
            port = str(json.loads(Path(told("READY_FILE", "")).read_text())["rest_api_port"])
        except (OSError, ValueError, KeyError, TypeError):
            return ""
    scheme = "https" if told("SSL_CERTIFICATE_FILE", "") else "http"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def ask(
    url: str, api_key: str, names: Collection[str] | None, ca_file: Path | None = None
) -> tuple[Served | None, str]:
    """Ask a service what it serves.

    Args:
        url: where it listens; empty where there is none to ask.
        api_key: goes along.
        names: models of the store; a service that has none of them serves another one. None where there is no store.
        ca_file: certificates to trust besides the system's.

    Returns:
        What it says, or None where it can't be asked; and where the answer comes from, for people.

    Raises:
        SettingsError: `url` is none.
    """
    if not url:
        return None, ""
    client = Client(url, api_key, _TIMEOUT_S, ca_file)
    try:
        served = _ask(client)
    except SettingsError:
        raise
    except SignpostError as error:
        return None, f"{str(error).rstrip('.')}; this is what would serve."
    finally:
        client.close()
    if served.versions and names is not None and not names & served.versions.keys():
        others = ", ".join(served.versions)
        return None, f"The service at {url} serves other models ({others}); this is what would serve of this store."
    return served, f"What is served is as reported by the service at {url}."


def _ask(client: Client) -> Served:
    models = client.status()
    status = {
        str(model["name"]): {
            int(each["version"]): (str(each["state"]), str(each["status"]["error_message"]))
            for each in model["model_version_status"]
        }
        for model in models
    }
    runtimes = {
        (str(model["name"]), int(each["version"])): each["runtime"]
        for model in models
        for each in model["model_version_status"]
        if "runtime" in each
    }
    answering = [name for name, versions in status.items() if any(s == _AVAILABLE for s, _ in versions.values())]
    return Served(
        status,
        {name: client.default_version(name) for name in answering},
        {name: client.labels(name) for name in status if status[name]},
        runtimes,
    )


def rows(configs: Iterable[ModelConfig], served: Served | None) -> list[Json]:
    """A row for each version, the highest of each model first, and for what lies in a model's folder and is none.

    Args:
        configs: the models as they are configured.
        served: what a service says, where there is one.

    Returns:
        Of each: `model`, `version` (None for what is not a version), `serves` (`default`; `wanted`: on request; empty:
        not), `state` in the service (None where it knows nothing of it), `runtime` there, `error`, `labels`,
        `accuracy`, `test_images`, `created`.
    """
    found: list[Json] = []
    known = {config.name: config for config in configs}
    elsewhere = () if served is None else served.versions.keys() - known.keys()
    for name in sorted({*known, *elsewhere}):
        found.extend(_rows(name, known.get(name), served))
    return found


def _rows(name: str, config: ModelConfig | None, served: Served | None) -> Iterator[Json]:
    contents, unreadable = store.Contents(), ""
    if config is not None:
        try:
            contents = config.look()
        except StoreError as error:
            unreadable = str(error)
    there = contents.versions
    states = served.versions.get(name, {}) if served is not None else {}
    labels: Mapping[str, int] = config.labels if config is not None else {}
    if served is not None and name in served.labels:
        labels = served.labels[name]
    for version in sorted({*there, *states}, reverse=True):
        card = _card(there[version]) if version in there else {}
        test = card.get("metrics", {}).get("test", {})
        state, failed = states.get(version, (None, ""))
        if served is not None:
            default, on_request = version == served.defaults.get(name), state == _AVAILABLE
        else:
            wanted = wanted_versions(config.policy, there, frozenset()) if config is not None else frozenset()
            default = version == max(wanted, default=None)
            on_request = version in wanted or version in labels.values()
        yield {
            "model": name,
            "version": version,
            "serves": "default" if default else "wanted" if on_request else "",
            "state": state,
            "runtime": None if served is None else served.runtimes.get((name, version)),
            "error": failed,
            "labels": sorted(label for label, number in labels.items() if number == version),
            "accuracy": test.get("accuracy"),
            "test_images": test.get("images"),
            "created": card.get("created"),
        }
    wrong = [f"{path} {why}" for path, why in contents.passed_over.items()] + ([unreadable] if unreadable else [])
    if config is not None and not (wrong or there or states):
        wrong = [f"{config.base_path} holds no version."]
    for each in wrong:
        nothing = dict.fromkeys(("state", "runtime", "accuracy", "test_images", "created"))
        yield {"model": name, "version": None, "serves": "", "error": each, "labels": [], **nothing}


def table(found: Iterable[Json]) -> Table:
    """The versions for people, and the models without one."""
    made = Table("model", "version", "serves", "labels", "test accuracy", "trained", box=None, pad_edge=False)
    shown: set[str] = set()
    for row in found:
        if row["version"] is None and row["model"] in shown:
            continue
        shown.add(row["model"])
        accuracy = "" if row["accuracy"] is None else f"{row['accuracy']:.4f} of {row['test_images']:,}"
        serves = _STATES.get(row["state"] or "", _IN_WORDS[row["serves"]])
        runtime = (row["runtime"] or {}).get("name", REFERENCE)
        serves += "" if runtime == REFERENCE else f" ({runtime})"
        version = "" if row["version"] is None else str(row["version"])
        made.add_row(row["model"], version, serves, ", ".join(row["labels"]), accuracy, (row["created"] or "")[:10])
    return made


def errors(found: Iterable[Json]) -> Iterator[str]:
    """What is wrong, a line each."""
    for row in found:
        if row["error"]:
            yield row["error"] if row["version"] is None else f"{row['model']} version {row['version']}: {row['error']}"


def _card(version: Path) -> dict[str, Any]:
    """The model card, or nothing where there is none that can be read."""
    try:
        card = json.loads((version / store.MODEL_CARD).read_text())
    except (OSError, ValueError):
        return {}
    return card if isinstance(card, dict) else {}
