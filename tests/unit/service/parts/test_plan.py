"""What the launcher makes of the settings, once for all processes."""

import threading
from pathlib import Path
from typing import Any

import pytest

from service.config.settings import Settings
from service.engine.batching.objective import Objective
from service.errors import SettingsError
from service.parts import plan


def test_texts_are_read_into_what_they_mean(tmp_path: Path) -> None:
    made = plan.make(
        Settings(
            store=tmp_path,
            saved_model_tags="serve, tpu",
            canary_share="a=0.5",
            latency_objective="p99=50ms",
            engine_models="a,,b ",
            grpc_channel_arguments="grpc.max_connection_age_ms=2000",
        )
    )
    assert made.tags == ("serve", "tpu")
    assert made.canary_shares == {"a": 0.5}
    assert made.objectives == {"": Objective(0.99, 0.05)}
    assert made.engine_models == ("a", "b")
    assert made.grpc_arguments == (("grpc.max_connection_age_ms", 2000),)
    assert (made.tls, made.grpc_tls, made.monitoring_path, made.keys.needs_key) == (None, None, None, False)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"canary_share": "2"}, "--canary-share takes"),
        (
            {"enable_batching": "false", "batching_parameters_file": Path("b")},
            "--batching_parameters_file has no effect",
        ),
        ({"latency_objective": "soon"}, "--latency-objective takes"),
        ({"grpc_channel_arguments": "a"}, "--grpc_channel_arguments takes"),
        ({"grpc_socket_path": Path("/nowhere/s")}, "--grpc_socket_path /nowhere/s can't be created"),
        ({"ssl_config_file": Path("/nowhere")}, "/nowhere can't be read"),
        ({"api_keys": "k"}, "Entry 1 of --api-keys"),
        ({"ssl_key_file": Path("k")}, "TLS needs both"),
        ({"engine_api_key_file": Path("/nowhere")}, "/nowhere can't be read"),
        ({"monitoring_config_file": Path("/nowhere")}, "/nowhere can't be read"),
    ],
)
def test_what_is_wrong_is_told_before_anything_starts(tmp_path: Path, wrong: dict[str, Any], told: str) -> None:
    threads = threading.active_count()
    with pytest.raises(SettingsError, match=told):
        plan.make(Settings(store=tmp_path, **wrong))
    assert threading.active_count() == threads


def test_a_file_that_changes_later_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "batching.config"
    file.write_text("max_batch_size { value: 8 }")
    made = plan.make(Settings(store=tmp_path))
    file.write_text("no such field")
    assert made.batching is not None
    assert made.batching.max_batch_size == 8
