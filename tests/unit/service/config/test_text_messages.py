"""TF Serving's configuration files: batching parameters, monitoring, TLS; and gRPC's arguments."""

from pathlib import Path

import pytest

from service.config.settings import Settings
from service.engine.batching.parameters import BatchingParameters
from service.errors import SettingsError
from service.parts import batching_config, monitoring_config
from service.rpc import config

FLAGS = BatchingParameters(max_batch_size=16, num_batch_threads=3)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "file.config"


def test_a_file_of_batching_parameters_counts_for_what_it_names(file: Path) -> None:
    file.write_text("""
        max_batch_size { value: 8 } batch_timeout_micros { value: 500 }  # as TF Serving's guide writes it
        allowed_batch_sizes: 2 allowed_batch_sizes: 8
        thread_pool_name { value: "pool" } pad_variable_length_inputs: true
    """)
    assert batching_config.read(file, FLAGS) == BatchingParameters(
        max_batch_size=8, batch_timeout_micros=500, num_batch_threads=3, allowed_batch_sizes=(2, 8)
    )


def test_where_large_requests_are_split_the_executed_size_counts(file: Path) -> None:
    file.write_text("""
        max_batch_size { value: 64 } max_execution_batch_size { value: 4 } enable_large_batch_splitting { value: true }
    """)
    assert batching_config.read(file, FLAGS).max_batch_size == 4


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("max_batch_sizes { value: 8 }", 'no field named "max_batch_sizes"'),
        ("max_batch_size: 8", "not a BatchingParameters in text format"),
        ("max_batch_size { value: 0 }", "max_batch_size must be at least 1, not 0"),
        ("allowed_batch_sizes: 4", "must rise and end with max_batch_size"),
        ("num_batch_threads { value: -1 }", "num_batch_threads must be at least 1"),
        ("\0\xff", "not a BatchingParameters in text format"),
    ],
)
def test_a_wrong_file_of_batching_parameters_is_told(file: Path, text: str, says: str) -> None:
    file.write_text(text)
    with pytest.raises(SettingsError, match=says):
        batching_config.read(file, FLAGS)


def test_a_missing_file_is_told(file: Path) -> None:
    with pytest.raises(SettingsError, match=r"file\.config can't be read: No such file"):
        batching_config.read(file, FLAGS)
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(SettingsError, match="in text format"):
        batching_config.read(file, FLAGS)


def test_the_stores_batching_parameters_count_where_no_file_is_named(tmp_path: Path) -> None:
    settings = Settings(store=tmp_path, max_batch_size=5)
    flags = batching_config.from_settings(settings)
    assert flags is not None
    assert flags.max_batch_size == 5
    (tmp_path / "batching.config").write_text("max_batch_size { value: 7 }")
    stores = batching_config.from_settings(settings)
    assert stores is not None
    assert stores.max_batch_size == 7
    (tmp_path / "other").write_text("max_batch_size { value: 9 }")
    named = batching_config.from_settings(Settings(store=tmp_path, batching_parameters_file=tmp_path / "other"))
    assert named is not None
    assert named.max_batch_size == 9


def test_batching_can_be_turned_off(tmp_path: Path) -> None:
    assert batching_config.from_settings(Settings(store=tmp_path, enable_batching="false")) is None
    with pytest.raises(SettingsError, match="no effect with --enable_batching=false"):
        batching_config.from_settings(
            Settings(store=tmp_path, enable_batching="false", batching_parameters_file=tmp_path)
        )


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("prometheus_config { enable: true }", "/monitoring/prometheus/metrics"),
        ('prometheus_config { enable: true, path: "/m" }', "/m"),
        ('prometheus_config { path: "/m" }', None),
        ("", None),
    ],
)
def test_monitoring_names_a_path(file: Path, text: str, path: str | None) -> None:
    file.write_text(text)
    assert monitoring_config.read_path(file) == path
    assert monitoring_config.read_path(None) is None


@pytest.mark.parametrize("path", ["m", "/<x>", "/a?b"])
def test_a_path_that_is_none_is_told(file: Path, path: str) -> None:
    file.write_text(f'prometheus_config {{ enable: true path: "{path}" }}')
    with pytest.raises(SettingsError, match="must start with a slash"):
        monitoring_config.read_path(file)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('server_key: "k"', "must have server_key and server_cert"),
        ('server_key: "k" server_cert: "c" client_verify: true', "needs custom_ca"),
        ("server: 1", 'no field named "server"'),
    ],
)
def test_a_file_for_tls_that_lacks_something_is_told(file: Path, text: str, says: str) -> None:
    file.write_text(text)
    with pytest.raises(SettingsError, match=says):
        config.read_tls(file)
    assert config.read_tls(None) is None


def test_channel_arguments_are_numbers_or_texts() -> None:
    assert config.parse_channel_arguments("a=1, b=x=y,,c=-99999999999,d=") == (
        ("a", 1), ("b", "x=y"), ("c", "-99999999999"), ("d", ""),
    )  # fmt: skip
    assert config.parse_channel_arguments("") == ()
    for text in ("a", "=1"):
        with pytest.raises(SettingsError, match="takes pairs such as"):
            config.parse_channel_arguments(text)


def test_a_socket_that_can_not_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path, says in (
        (tmp_path / "missing" / "socket", "its folder is missing"),
        (tmp_path / "file", "is not a socket"),
        (tmp_path / ("x" * 108), "longer than the 107 bytes"),
    ):
        with pytest.raises(SettingsError, match=says):
            config.check_socket_path(path)
    config.check_socket_path(tmp_path / "socket")
    config.check_socket_path(None)
