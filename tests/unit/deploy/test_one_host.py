"""What keeps Signpost up on one host: systemd's unit, nginx and Caddy as their own programs check them."""

import configparser
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from service.config import settings
from service.config.settings import Settings
from service.process import gunicorn_app, supervisor
from tests.unit.deploy.manifests import DEPLOY

UNIT = DEPLOY / "systemd" / "signpost.service"


def lines(path: Path, name: str) -> list[str]:
    """All values of a directive, which may stand several times."""
    return re.findall(rf"^{name}=(.*)$", path.read_text(), re.M)


def variables(*paths: Path) -> dict[str, str]:
    return dict(each.split("=", 1) for path in paths for each in lines(path, "Environment"))


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze not found")
@pytest.mark.parametrize("extra", ["", "gpu.conf"])
def test_systemd_takes_the_unit(tmp_path: Path, extra: str) -> None:
    there = UNIT.read_text().replace("/opt/signpost/bin/signpost", shutil.which("true") or "/bin/true")
    if extra:
        there += (DEPLOY / "systemd" / extra).read_text()
    (tmp_path / UNIT.name).write_text(there)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", tmp_path / UNIT.name], capture_output=True, text=True, timeout=60
    )
    ours = [line for line in done.stderr.splitlines() if UNIT.name in line]
    assert (done.returncode, ours) == (0, [])


def test_it_sets_settings_only() -> None:
    assert settings.unknown_variables(variables(UNIT, DEPLOY / "systemd" / "gpu.conf")) == []


def test_a_stop_may_take_as_long_as_it_can() -> None:
    [timeout_s], [mode] = lines(UNIT, "TimeoutStopSec"), lines(UNIT, "KillMode")
    drain_s = float(variables(UNIT)["SIGNPOST_DRAIN_SECONDS"])
    assert float(timeout_s) > drain_s + gunicorn_app.drain_s(Settings()) + 2 * supervisor._STOP_S
    assert mode == "mixed"  # with control-group every process would be told to stop, and none had the others drain


def test_a_wrong_setting_is_not_tried_again_and_again() -> None:
    assert lines(UNIT, "RestartPreventExitStatus") == [str(supervisor._SETTINGS_CODE)]


def test_the_unit_is_hardened_as_far_as_tensorflow_lets_it() -> None:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[method-assign, assignment]
    parser.read_string(UNIT.read_text())
    service = parser["Service"]
    assert service["ProtectSystem"] == "strict"
    assert service["NoNewPrivileges"] == service["PrivateTmp"] == service["PrivateDevices"] == "yes"
    assert service["CapabilityBoundingSet"] == ""
    assert "MemoryDenyWriteExecute" not in service  # oneDNN and XLA write the code that they run
    assert service.get("ProcSubset", "all") == "all"  # or /proc/meminfo could not be read


@pytest.mark.skipif(shutil.which("caddy") is None, reason="caddy not found")
def test_caddy_takes_its_file() -> None:
    command = ["caddy", "validate", "--adapter", "caddyfile", "--config", DEPLOY / "caddy" / "Caddyfile"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "not formatted" not in done.stderr


@pytest.mark.parametrize("path", ["nginx/signpost.conf", "caddy/Caddyfile"])
def test_proxies_wait_as_long_as_signpost_and_take_what_it_takes(path: str) -> None:
    text = (DEPLOY / path).read_text()
    limit = re.search(r"(?:client_max_body_size|max_size) (\d+)(?:m|MiB)\b", text)
    waits = re.search(r"(?:proxy_read_timeout|response_header_timeout) (\d+)s", text)
    idle = re.search(r"(?:keepalive_timeout|keepalive) (\d+)s", text)
    assert limit
    assert waits
    assert idle
    assert int(limit[1]) * 2**20 == Settings().max_body_bytes
    assert int(waits[1]) > gunicorn_app.drain_s(Settings())
    assert int(idle[1]) < Settings().keep_alive_s
    assert f"127.0.0.1:{Settings().rest_api_port}" in text
    assert f"127.0.0.1:{Settings().port}" in text
