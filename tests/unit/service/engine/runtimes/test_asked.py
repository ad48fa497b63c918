"""What `--runtime` takes."""

import pytest

from service.engine.runtimes import asked, openvino
from service.errors import SettingsError


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", {"": "auto"}),
        ("tensorflow", {"": "tensorflow"}),
        ("xla, letters=tensorflow", {"": "xla", "letters": "tensorflow"}),
        ("letters = xla", {"": "auto", "letters": "xla"}),
        ("a=openvino,openvino", {"": "openvino", "a": "openvino"}),
    ],
)
def test_one_for_all_or_by_model(text: str, found: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino, "version", lambda: "2026.4")
    assert asked.parse(text) == found


@pytest.mark.parametrize("text", ["onnx", "=openvino", "letters=", "letters=onnx", "openvino;auto"])
def test_what_is_no_runtime_is_told_with_those_there_are(text: str) -> None:
    with pytest.raises(SettingsError, match="--runtime takes auto, tensorflow, xla or openvino, or MODEL=RUNTIME"):
        asked.parse(text)


@pytest.mark.parametrize("text", ["openvino", "auto,letters=openvino"])
def test_one_that_is_not_installed_is_told_with_what_installs_it(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino, "version", lambda: "")
    with pytest.raises(SettingsError, match=r"OpenVINO is not installed; install it with `pip install 'signpost-"):
        asked.parse(text)
    assert asked.parse("auto") == {"": "auto"}
    assert asked.installed() == {}
