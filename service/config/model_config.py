"""Which models to serve, and which versions and labels of each: TF Serving's `ModelServerConfig`, read and written.

The text format is the very file that `tensorflow_model_server --model_config_file` reads.
"""

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from google.protobuf import json_format, text_format

from service import protocol, store
from service.errors import InvalidRequest, SettingsError


@dataclass(frozen=True)
class Latest:
    """Serve the highest `count` versions."""

    count: int = 1


@dataclass(frozen=True)
class All:
    """Serve every version there is."""


@dataclass(frozen=True)
class Specific:
    """Serve these versions."""

    versions: frozenset[int]


Policy = Latest | All | Specific


@dataclass(frozen=True)
class ModelConfig:
    """One model to serve.

    Attributes:
        name: its name in requests.
        base_path: the folder that holds its versions.
        policy: which of them to serve.
        labels: names that point at versions.
        required: whether the service is ready only when this model is. What merely lies in the store, and holds no
            version, is not.
    """

    name: str
    base_path: Path
    policy: Policy = Latest()
    labels: Mapping[str, int] = field(default_factory=dict)
    required: bool = True

    def look(self) -> store.Contents:
        """Look at all that lies in its folder; one that is itself a SavedModel is a version, see `store.look`.

        In a store that nobody configures such a folder is a mistake that is told: it may be a version, and the store
        one folder higher.

        Raises:
            StoreError: the folder can't be read.
        """
        return store.look(self.base_path, itself=self.required)


def read_message(message: Any, folder: Path) -> tuple[ModelConfig, ...]:
    """Read a ModelServerConfig message.

    Args:
        message: `tensorflow.serving.ModelServerConfig`.
        folder: what relative base paths are relative to.

    Raises:
        SettingsError: it is not a list of models, or a model in it can't be served as it says.
    """
    if message.WhichOneof("config") == "custom_model_config":
        raise SettingsError("custom_model_config is not supported; list the models in model_config_list.")
    configs = tuple(_read_model(model, folder) for model in message.model_config_list.config)
    names = [config.name for config in configs]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise SettingsError(f"The model {repeated[0]} is listed twice; each name may appear only once.")
    return configs


def _read_model(model: Any, folder: Path) -> ModelConfig:
    if not model.name or "/" in model.name or model.name.startswith("."):
        raise SettingsError(
            f"{model.name!r} is not a valid model name; it must not be empty, start with '.' or contain '/'."
        )
    if not model.base_path:
        raise SettingsError(f"The model {model.name} has no base_path; name the folder that holds its versions.")
    if model.model_platform not in ("", "tensorflow"):
        raise SettingsError(
            f"The model {model.name} has the platform {model.model_platform!r}; it must be 'tensorflow'."
        )
    if "://" in model.base_path:
        raise SettingsError(
            f"The model {model.name} is at {model.base_path}; base_path must be a local folder here. Models in "
            "object storage must be in the configuration that the service starts with."
        )
    labels = {str(label): int(version) for label, version in sorted(model.version_labels.items())}
    return ModelConfig(model.name, folder / model.base_path, _read_policy(model), labels)


def _read_policy(model: Any) -> Policy:
    policy = model.model_version_policy
    choice = policy.WhichOneof("policy_choice")
    if choice == "all":
        return All()
    if choice == "specific":
        if not policy.specific.versions:
            raise SettingsError(f"The model {model.name} lists no specific version; list at least one.")
        return Specific(frozenset(int(version) for version in policy.specific.versions))
    count = int(policy.latest.num_versions) if choice == "latest" else 1
    return Latest(max(1, count))  # TF Serving takes 0 as 1


def parse(text: str, source: str, folder: Path) -> tuple[ModelConfig, ...]:
    """Parse the text format.

    Args:
        text: a ModelServerConfig as text.
        source: where it comes from, for messages.
        folder: what relative base paths are relative to.

    Raises:
        SettingsError: it is not such a text, or see `read_message`.
    """
    message = protocol.model_server_config_pb2.ModelServerConfig()
    try:
        text_format.Parse(text, message)
    except text_format.ParseError as error:
        # TF Serving's words, which its clients look for.
        raise SettingsError(
            f"Error parsing text-format tensorflow.serving.ModelServerConfig: {source}: {str(error).rstrip('.')}."
        ) from error
    try:
        return read_message(message, folder)
    except SettingsError as error:
        raise SettingsError(f"{source}: {error}") from error


def read_body(body: bytes) -> Any:
    """The ModelServerConfig message that a client sends as text, or as JSON where it begins with a brace.

    Raises:
        InvalidRequest: it is neither.
    """
    message = protocol.model_server_config_pb2.ModelServerConfig()
    try:
        text = body.decode()
        json_format.Parse(text, message) if text.lstrip()[:1] == "{" else text_format.Parse(text, message)
    except (UnicodeDecodeError, json_format.ParseError, text_format.ParseError, RecursionError) as error:
        raise InvalidRequest(f"The body is not a ModelServerConfig in text format or JSON: {error}.") from error
    if not message.model_config_list.config:
        raise InvalidRequest("The configuration lists no models; list at least one.")
    return message


def to_text(configs: Iterable[ModelConfig], folder: Path) -> str:
    """Write the text format; base paths below `folder` become relative to it."""
    message = protocol.model_server_config_pb2.ModelServerConfig()
    message.model_config_list.SetInParent()
    for config in configs:
        model = message.model_config_list.config.add(name=config.name, model_platform="tensorflow")
        below = config.base_path.is_relative_to(folder)
        model.base_path = str(config.base_path.relative_to(folder) if below else config.base_path)
        if isinstance(config.policy, All):
            model.model_version_policy.all.SetInParent()
        elif isinstance(config.policy, Specific):
            model.model_version_policy.specific.versions.extend(sorted(config.policy.versions))
        elif config.policy.count != 1:
            model.model_version_policy.latest.num_versions = config.policy.count
        for label, version in sorted(config.labels.items()):
            model.version_labels[label] = version
    return str(text_format.MessageToString(message))


def wanted_versions(policy: Policy, complete: Iterable[int], failed: Set[int]) -> frozenset[int]:
    """Choose the versions that should serve.

    Args:
        policy: the model's version policy.
        complete: the versions that lie in its folder.
        failed: those of them that could not be loaded.

    Returns:
        The versions that the policy names and that are there. For each of the latest that has failed, the next lower
        one stands in, so that publishing a broken version takes nothing away.
    """
    if isinstance(policy, All):
        return frozenset(complete)
    if isinstance(policy, Specific):
        return frozenset(complete) & policy.versions
    wanted: set[int] = set()
    for version in sorted(complete, reverse=True):
        wanted.add(version)
        if len(wanted - failed) == policy.count:
            break
    return frozenset(wanted)
