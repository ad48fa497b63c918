"""The command line in the place of tensorflow_model_server's."""

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from service.commands.cli import main
from service.config import tf_serving_flags
from service.config.settings import Settings
from service.process import launcher

VALUES = {
    "port": "1",
    "rest_api_port": "2",
    "grpc_channel_arguments": "a=1",
    "mixed_precision": "bfloat16",
    "per_process_gpu_memory_fraction": "0.5",
    "model_name": "m",
    "saved_model_tags": "serve,gpu",
}


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    served: list[Settings] = []
    monkeypatch.setattr(launcher, "serve", served.append)
    return served


def run(*arguments: str, environment: dict[str, str] | None = None) -> Result:
    return CliRunner().invoke(main, ["serve", *arguments], env=environment)


def test_every_flag_of_tf_serving_is_taken(served: list[Settings]) -> None:
    for flag in tf_serving_flags.FLAGS:
        if flag.setting == "version":
            continue
        value = "false" if flag.refused else VALUES.get(flag.name, "1")
        result = run(f"--{flag.name}={value}")
        assert result.exit_code == 0, result.output
        warned = f"Warning: --{flag.name} is not needed and is ignored" in result.stderr
        assert warned is (not flag.setting and not flag.refused)
        if flag.setting:
            assert str(getattr(served[-1], flag.setting)) in (value, f"{value}.0", "True", "true")


@pytest.mark.parametrize(
    ("arguments", "setting", "value"),
    [
        (["--enable_batching"], "enable_batching", "true"),
        (["--enable_batching=false"], "enable_batching", "false"),
        (["--enable_batching=1"], "enable_batching", "true"),
        (["--enable_batching=Auto"], "enable_batching", "auto"),
        ([], "enable_batching", "auto"),
        (["--enable_batching", "--port=3"], "port", 3),
        (["--rest_api_enable_cors_support", "--port=3"], "rest_api_enable_cors_support", True),
        (["--rest_api_num_threads=3"], "threads", 3),
        (["--rest-api-num-threads", "3"], "threads", 3),
        (["--tensorflow_session_parallelism=2"], "tensorflow_threads", 2),
        (["--monitoring_config_file="], "monitoring_config_file", None),
        (["--monitoring_config_file=a"], "monitoring_config_file", Path("a")),
        (["--grpc_socket_path", "s"], "grpc_socket_path", Path("s")),
    ],
)
def test_values_stand_where_tf_serving_takes_them(
    served: list[Settings], arguments: list[str], setting: str, value: Any
) -> None:
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    assert getattr(served[0], setting) == value


def test_flags_of_true_or_false_are_variables_too(served: list[Settings]) -> None:
    assert run(environment={"SIGNPOST_ENABLE_BATCHING": "false"}).exit_code == 0
    assert served[0].enable_batching == "false"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--nosuch=1"], "No such option"),
        (["--enable_batching=perhaps"], "not a valid boolean"),
        (["--use_alts_credentials"], "no ALTS credentials"),
        (["--mixed_precision=int8"], "must be bfloat16 or empty"),
        (["--port=x"], "not a valid integer"),
        (["--per_process_gpu_memory_fraction=2"], "between 0 and 1"),
    ],
)
def test_what_can_not_be_served_ends_with_2(served: list[Settings], arguments: list[str], says: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert says in result.stderr
    assert not served


def test_the_version_is_told() -> None:
    assert "signpost, version" in run("--version").stdout
