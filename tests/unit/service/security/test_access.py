"""Who is let in, by key and by address."""

from pathlib import Path
from typing import Any

import pytest

from service.config.settings import Settings
from service.errors import Forbidden, SettingsError, Unauthenticated
from service.security import access, keys

PREDICT, PREDICT_KEY = keys.make("camera", "predict")
ADMIN, ADMIN_KEY = keys.make("ops", "admin")
BOTH = f"{PREDICT_KEY.line},{ADMIN_KEY.line}"


@pytest.mark.parametrize(
    ("host", "listed", "secret", "needed", "answer"),
    [
        ("127.0.0.1", "", None, "predict", ""),
        ("127.0.0.1", "", None, "admin", ""),
        ("127.0.0.1", "", "anything", "admin", ""),
        ("0.0.0.0", "", None, "predict", ""),
        ("0.0.0.0", "", None, "admin", Forbidden),
        ("0.0.0.0", "", ADMIN, "admin", Forbidden),
        ("127.0.0.1", BOTH, None, "predict", Unauthenticated),
        ("127.0.0.1", BOTH, None, "admin", Unauthenticated),
        ("127.0.0.1", BOTH, "", "predict", Unauthenticated),
        ("127.0.0.1", BOTH, "wrong", "admin", Unauthenticated),
        ("0.0.0.0", BOTH, PREDICT, "predict", "camera"),
        ("0.0.0.0", BOTH, PREDICT, "admin", Forbidden),
        ("0.0.0.0", BOTH, ADMIN, "predict", "ops"),
        ("0.0.0.0", BOTH, ADMIN, "admin", "ops"),
    ],
)
def test_who_is_let_in(
    host: str, listed: str, secret: str | None, needed: keys.Role, answer: str | type[Exception]
) -> None:
    decides = access.read(Settings(host=host, api_keys=listed)).access()
    assert decides.needs_key == bool(listed)
    if isinstance(answer, str):
        assert decides.admit(secret, needed) == answer
    else:
        with pytest.raises(answer) as caught:
            decides.admit(secret, needed)
        assert not secret or secret not in str(caught.value)


def test_this_services_own_gateways_have_a_key_of_their_own() -> None:
    assert access.read(Settings(api_keys=BOTH)).access("link").admit("link", "admin") == "this-service"
    with pytest.raises(Unauthenticated):
        access.read(Settings(api_keys=BOTH)).access().admit("", "predict")


def test_keys_of_the_file_and_of_the_variable_add_up(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text(PREDICT_KEY.line)
    settings = Settings(api_keys_file=tmp_path / "keys", api_keys=ADMIN_KEY.line)
    decides = access.read(settings).access()
    assert {decides.admit(PREDICT, "predict"), decides.admit(ADMIN, "admin")} == {"camera", "ops"}


def test_a_service_that_nobody_could_use_does_not_start(tmp_path: Path) -> None:
    assert not access.read(Settings()).needs_key
    with pytest.raises(SettingsError, match="can't be read"):
        access.read(Settings(api_keys_file=tmp_path / "keys"))
    (tmp_path / "keys").write_text("# none\n")
    with pytest.raises(SettingsError, match="no API key"):
        access.read(Settings(api_keys_file=tmp_path / "keys"))
    with pytest.raises(SettingsError, match="Entry 2 of --api-keys"):
        access.read(Settings(api_keys=f"{ADMIN_KEY.line},{PREDICT}"))


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        ({}, []),
        ({"host": "0.0.0.0"}, ["may use the models"]),
        ({"host": "0.0.0.0", "api_keys": BOTH}, ["in plain text"]),
        ({"host": "0.0.0.0", "api_keys": BOTH, "ssl_certificate_file": Path("c"), "ssl_key_file": Path("k")}, []),
        ({"api_keys": BOTH}, []),
        ({"engine": "h:1", "engine_api_key_file": Path("k")}, ["is sent in plain text"]),
        ({"engine": "h:1", "engine_api_key_file": Path("k"), "engine_tls_ca_file": Path("c")}, []),
    ],
)
def test_what_an_operator_is_told_at_the_start(chosen: dict[str, Any], said: list[str]) -> None:
    settings = Settings(**chosen)
    advice = access.advice(settings, access.read(settings).needs_key)
    assert len(advice) == len(said)
    assert all(part in sentence for part, sentence in zip(said, advice, strict=True))


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("127.0.0.1", True), ("127.8.0.1", True), ("::1", True), ("localhost", True),
        ("0.0.0.0", False), ("::", False), ("", False), ("10.0.0.1", False), ("example.org", False),
    ],
)  # fmt: skip
def test_which_addresses_other_machines_cannot_reach(host: str, local: bool) -> None:
    assert access.is_local(host) is local


@pytest.mark.parametrize(
    ("authorization", "api_key", "secret"),
    [
        ("", "", None),
        ("Bearer abc", "", "abc"),
        ("bearer  abc ", "", "abc"),
        ("Basic abc", "", None),
        ("Bearer", "", ""),
        ("", "abc", "abc"),
        ("Basic of-the-proxy", " abc", "abc"),
        ("Bearer of-the-proxy", "abc", "abc"),
    ],
)
def test_where_a_key_is_looked_for(authorization: str, api_key: str, secret: str | None) -> None:
    assert access.secret_of(authorization, api_key) == secret
