"""`signpost predict` and its client, before a gateway on a real socket with an engine without TensorFlow."""

import json
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from werkzeug.serving import make_server

from service.commands.cli import main
from service.commands.client import Client, Target
from service.config.settings import Settings
from service.errors import Overloaded, SettingsError, Unavailable
from service.gateway import create_app
from service.gateway.routes.metrics import Metrics
from service.security import access
from tests import certificates
from tests.fakes import FakeEngine, FakeServable, classifier, signature, spec
from tests.unit.service.gateway.pictures import BLACK, GREY, WHITE

Address = tuple[str, int]


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine(
        classifier("letters", 1, ("A", "B", "C")), classifier("letters", 2, ("A", "B", "C")), labels={"stable": 1}
    )


@pytest.fixture
def url(engine: FakeEngine) -> Iterator[str]:
    app = create_app(
        Settings(max_image_bytes=5_000),
        engine,
        Metrics(engine),
        admits=access.Access(),
    )
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three images, one of them deeper, and a file that is none and has no image's name."""
    (tmp_path / "deeper").mkdir()
    (tmp_path / "a.png").write_bytes(WHITE)
    (tmp_path / "b.JPG").write_bytes(BLACK)
    (tmp_path / "deeper" / "c.png").write_bytes(GREY)
    (tmp_path / "notes.txt").write_text("no image")
    return tmp_path


def predict(*arguments: object, stdin: bytes = b"") -> Result:
    return CliRunner().invoke(main, ["predict", *map(str, arguments)], input=stdin)


def refusal(result: Result) -> str:
    """The one sentence with which the command refuses."""
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    [line] = result.stderr.strip().splitlines()
    assert line.startswith("Error: ")
    return line


def test_files_are_told_in_a_table(url: str, folder: Path) -> None:
    result = predict(folder / "a.png", folder / "b.JPG", "--url", url)
    assert result.exit_code == 0, result.output
    words = result.stdout.replace(str(folder), "").split()
    assert words[:4] == ["image", "class", "score", "next"]
    assert "C 100.0%" in " ".join(words)
    assert "A 100.0%" in " ".join(words)
    assert words[-3:] == ["letters", "version", "2"]


def test_a_folder_is_told_as_lines_of_json_in_the_order_of_the_names(url: str, folder: Path) -> None:
    result = predict(folder, "--url", url, "--json")
    assert result.exit_code == 0, result.output
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [line["path"] for line in lines] == [str(folder / name) for name in ("a.png", "b.JPG", "deeper/c.png")]
    assert [line["class"] for line in lines] == ["C", "A", "A"]
    assert lines[0]["model"] == {"name": "letters", "version": 2}
    assert list(lines[2]["scores"]) == ["A", "B", "C"]


def test_standard_input_is_one_image(url: str) -> None:
    result = predict("-", "--url", url, "--json", stdin=WHITE)
    assert json.loads(result.stdout)["path"] == "standard input"
    assert json.loads(result.stdout)["class"] == "C"


@pytest.mark.parametrize(("flags", "version"), [((), 2), (("--version", 1), 1), (("--label", "stable"), 1)])
def test_a_version_and_a_label_can_be_asked(url: str, folder: Path, flags: tuple[object, ...], version: int) -> None:
    result = predict(folder / "a.png", "--url", url, "--json", "--model", "letters", *flags)
    assert json.loads(result.stdout)["model"]["version"] == version


def test_top_k_limits_the_scores(url: str, folder: Path) -> None:
    result = predict(folder / "deeper" / "c.png", "--url", url, "--json", "--top-k", 2)
    assert json.loads(result.stdout)["scores"] == {"A": 0.8, "C": 0.2}


def test_what_is_no_image_is_told_and_the_others_are_answered(url: str, folder: Path) -> None:
    paths = (folder / "notes.txt", folder / "a.png")
    result = predict(*paths, "--url", url)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"{folder / 'notes.txt'}: This is not an image: it is text")
    assert "C 100.0%" in " ".join(result.stdout.split())
    for_programs = predict(*paths, "--url", url, "--json")
    assert for_programs.exit_code == 1
    told = [json.loads(line) for line in for_programs.stdout.splitlines()]
    assert "not an image" in told[0]["error"]
    assert told[1]["class"] == "C"
    assert for_programs.stderr == ""


def test_an_image_that_is_too_large_is_told(url: str, tmp_path: Path) -> None:
    (tmp_path / "large.png").write_bytes(WHITE + b"x" * 5_000)
    result = predict(tmp_path / "large.png", "--url", url)
    assert result.exit_code == 1
    assert "at most 5000 are allowed" in result.stderr


def test_many_images_show_a_bar_on_a_terminal_only(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(12):
        (tmp_path / f"{number}.png").write_bytes(WHITE)
    assert predict(tmp_path, "--url", url, "--json").stderr == ""
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich's way to be told that there is a terminal
    result = predict(tmp_path, "--url", url, "--json")
    assert "12/12" in result.stderr
    assert len([json.loads(line) for line in result.stdout.splitlines()]) == 12


@pytest.mark.parametrize("name", ["IMG_0001.HEIC", "IMG_0002.heif", "IMG_0003.hif", "IMG_0004.avif"])
def test_photographs_of_telephones_are_found_in_a_folder(url: str, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(WHITE)  # what it is, its bytes say
    assert json.loads(predict(tmp_path, "--url", url, "--json").stdout)["class"] == "C"


def test_a_name_with_brackets_is_no_markup(url: str, tmp_path: Path) -> None:
    (tmp_path / "[bold]x.png").write_bytes(WHITE)
    assert "[bold]x.png" in "".join(predict(tmp_path, "--url", url).stdout.split())


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["gone.png"], "There is no gone.png; give files, folders, or -"),
        (["."], "The folder . contains no image"),
        (["-", "--model", "nosuch"], "Servable not found for request: Latest(nosuch)"),
        (["-", "--model", "letters", "--version", "9"], "Specific(letters, 9)"),
        (["-", "--label", "canary"], "Label(letters, canary)"),
        (["-", "--label", "stable", "--version", "1"], "either --version or --label"),
    ],
)
def test_bad_input_is_one_sentence(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert says in refusal(predict(*arguments, "--url", url, stdin=WHITE))


def test_among_several_models_one_must_be_chosen(url: str, engine: FakeEngine) -> None:
    engine.servables.append(classifier("other"))
    assert "choose one with --model: letters, other" in refusal(predict("-", "--url", url, stdin=WHITE))


def test_a_model_that_takes_no_images_ends_it(url: str, engine: FakeEngine) -> None:
    tensors = signature([spec("x", "DT_FLOAT", -1)], [spec("y", "DT_FLOAT", -1)])
    engine.servables = [FakeServable(lambda inputs, _: inputs, {"serving_default": tensors}, "half")]
    assert "half version 1 is not an image classifier" in refusal(predict("-", "--url", url, stdin=WHITE))


def test_a_model_that_is_not_ready_ends_it(url: str, engine: FakeEngine) -> None:
    engine.fault = Unavailable("Model letters is not ready (not loaded yet); try again.")
    assert "Model letters is not ready" in refusal(predict("-", "--url", url, stdin=WHITE))


def test_where_nobody_answers_it_says_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    found = refusal(predict("-", "--url", f"http://127.0.0.1:{port}", stdin=WHITE))
    assert found == f"Error: No service answers at http://127.0.0.1:{port}: Connection refused."


@pytest.mark.parametrize("url", ["ftp://host", "http://", "http://host:port", "http://[::1"])
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match="--url takes http://HOST:PORT"):
        Client(url)


def test_a_full_service_is_asked_again(url: str, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []

    def wait(seconds: float) -> None:
        pauses.append(seconds)
        engine.fault = None

    monkeypatch.setattr("service.commands.client.time.sleep", wait)
    engine.fault = Overloaded("The queue of letters is full.", 2.5)
    client = Client(url)
    assert client.predict(Target("letters"), WHITE)["class"] == "C"
    assert pauses == [3]
    client.close()


def test_another_service_is_recognised() -> None:
    def greet(_environ: object, start: object) -> list[bytes]:
        start("200 OK", [("Content-Type", "text/html")])  # type: ignore[operator]
        return [b"<h1>Hello</h1>"]

    server = make_server("127.0.0.1", 0, greet)  # type: ignore[arg-type]
    thread = threading.Thread(target=server.handle_request)
    thread.start()
    client = Client(f"http://127.0.0.1:{server.port}/")
    with pytest.raises(Unavailable, match="does not answer like a Signpost service"):
        client.models()
    client.close()
    thread.join()
    server.server_close()


def test_names_are_quoted_in_paths() -> None:
    assert Target("a model/x", label="b?").path == "/v1/models/a%20model%2Fx/labels/b%3F"


def test_a_key_that_was_not_copied_whole_is_told_and_not_shown(url: str, folder: Path) -> None:
    for key in ("two words", "caf\u00e9", "a\nb"):
        said = refusal(predict(folder / "a.png", "--url", url, "--api-key", key))
        assert "was it copied in full?" in said
        assert key not in said


def test_what_the_model_does_not_know_is_said(url: str, engine: FakeEngine, folder: Path) -> None:
    engine.servables = [classifier("letters", 3, ("A", "B", "C"), tells=True)]
    result = predict(folder / "a.png", folder / "b.JPG", "--url", url)
    assert result.exit_code == 0, result.output
    words = " ".join(result.stdout.replace(str(folder), "").split())
    assert "C 100.0%" in words
    assert words.count("(not known)") == 1


@pytest.mark.skipif(bool(certificates.MISSING), reason=certificates.MISSING)
def test_a_certificate_of_ones_own_is_trusted_by_name_and_told_otherwise(engine: FakeEngine, tmp_path: Path) -> None:
    pair = certificates.make(tmp_path, "ours")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    app = create_app(Settings(), engine, Metrics(engine), admits=access.Access())
    server = make_server("127.0.0.1", 0, app, threaded=True, ssl_context=context)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    url = f"https://localhost:{server.port}"
    (tmp_path / "a.png").write_bytes(WHITE)
    try:
        done = predict("--url", url, "--cacert", pair.certificate, tmp_path / "a.png")
        assert done.exit_code == 0, done.output
        assert "letters version 2" in done.output
        distrusted = predict("--url", url, tmp_path / "a.png").output
        assert f"The certificate of {url} is not trusted: self-signed certificate." in distrusted
        assert "--cacert" in distrusted
        plain = predict("--url", url.replace("https", "http"), tmp_path / "a.png").output
        assert "does it listen on https://?" in plain
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_file_that_holds_no_certificate_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(WHITE)
    done = predict("--url", "https://localhost:1", "--cacert", tmp_path / "a.png", tmp_path / "a.png")
    assert done.exit_code == 2
    assert "contains no certificate in PEM format" in done.output


def test_who_asks_a_service_without_tls_for_it_is_told(url: str, folder: Path) -> None:
    assert "does it listen on http://?" in predict("--url", url.replace("http", "https"), folder).output
