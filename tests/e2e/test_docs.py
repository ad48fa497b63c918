"""Every command and program in the documents does what they say, before a server of the shipped letters.

A block is run as it stands, but for the ports. What a block cannot be run for is told in `NOT_RUN`; a block of a kind
that nobody knows fails the test, so that no document grows a command that nobody has tried.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.contract import stock_clients
from tests.e2e import browser
from tests.e2e.browser import browsing
from tests.e2e.processes import PATIENCE_S, Server, serving, wait_until

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
DOCUMENTS = sorted([ROOT / "README.md", ROOT / "loadtests" / "README.md", *(ROOT / "docs").glob("*.md")])
COMMAND = re.compile(
    r"(?:[A-Z_]+=\S+ )*(?:\.venv/bin/\w+|signpost|curl|echo|make|docker|kubectl|openssl|tensorflow_model_server) "
)

# What a block begins with, and why it is not run here.
NOT_RUN = {
    "make serve": "the server of these tests stands for it; test_lifecycle looks at its recipe",
    "tensorflow_model_server": "is not ours; test_tf_serving compares the two",
    "signpost train transfer": "fetches weights; tests/unit/training trains it on random ones",
    "signpost train cats_vs_dogs": "needs the archive; test_run publishes a version again without an epoch",
    "make gpu-check": "takes minutes; test_gpu_check runs some of its steps",
    "make image": "takes minutes and gigabytes; test_image does it where it is asked to",
    "SIGNPOST_TEST_IMAGE=": "is that test",
    "pip install": "is of gigabytes",
    "signpost serve --engine gpu-0": "needs hosts with GPUs",
    "serve run": "takes a virtual environment of its own; test_ray runs this very file",
    "signpost serve --engine ray-head": "needs a cluster of Ray; test_ray has a gateway before one node",
    "signpost serve --store s3": "needs a bucket; test_object_storage has one",
    "signpost models --store s3": "the same",
    "signpost serve --engine dns:": "needs hosts behind a name; test_fleet has them",
    "KERAS_BACKEND=jax": "needs JAX and the photographs; test_run publishes what another backend trained",
    "docker": "needs Docker",
    "kubectl": "needs a cluster",
}
# Flags that make a command end sooner; it is the same otherwise.
SOONER = {
    "signpost train circles": "--samples=400 --epochs=1 --cache=cache --report=report",
    "signpost train image_folder": "--epochs=1 --cache=cache --report=report",
    "signpost evaluate": "--cache=cache --report=report",
    "signpost loadtest capacity": "--url http://127.0.0.1:8501 --seconds=1 --repeats=1 --precision=1 --from=20 "
    "--warm-up=0 --no-floor --slo p99=5s",
    # Runs of a second differ by chance, which it says with exit code 1.
    "signpost loadtest compare": "|| test $? = 1",
    "signpost loadtest": "--url http://127.0.0.1:8501 --seconds=1 --warm-up=0 --no-floor --slo errors=100%",
    "locust": "--headless --users=2 --run-time=6s ImageUser",
    "signpost serve": "--port=0 --rest_api_port=0 --ready-file=ready.json",
}


@dataclass(frozen=True)
class Block:
    """A fenced block, with the one after it, which may show what it prints."""

    document: str
    line: int
    language: str
    text: str
    after: str

    def __str__(self) -> str:
        return f"{self.document}:{self.line}"


def blocks() -> Iterator[Block]:
    for path in DOCUMENTS:
        text = path.read_text()
        found = list(re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))
        for number, match in enumerate(found):
            after = found[number + 1][2] if number + 1 < len(found) else ""
            line = text.count("\n", 0, match.start()) + 2
            yield Block(str(path.relative_to(ROOT)), line, match[1], match[2], after)


def each_once(commands: list[Block]) -> list[Block]:
    """Without repetitions; a training of circles is one."""
    found: dict[tuple[str, str], Block] = {}
    for block in commands:
        training = re.match(r'(?:make train RECIPE="|(?:\.venv/bin/)?signpost train )(circles)', block.text)
        found.setdefault((training[1], "") if training else (block.text, block.after[:1]), block)
    return list(found.values())


BLOCKS = list(blocks())
COMMANDS = [block for block in BLOCKS if block.language in ("", "sh") and COMMAND.match(block.text)]
SHELL = each_once(COMMANDS)
PYTHON = [block for block in BLOCKS if block.language == "python"]
# Packages that other makers' clients come in, and the environment that has them.
STOCK_CLIENTS = {"tritonclient": "triton", "kserve": "kserve_client"}


def without_comments(text: str) -> str:
    return re.sub(r"\s+#.*$", "", text, flags=re.MULTILINE)


def why_not(command: str) -> str:
    plain = command.replace(".venv/bin/", "")
    return next((why for begin, why in NOT_RUN.items() if plain.startswith(begin)), "")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the repository looks like to the commands: its documents, its load tests, a store to change, `.venv`."""
    folder = tmp_path_factory.mktemp("checkout")
    (folder / "docs").symlink_to(ROOT / "docs")
    (folder / "loadtests").symlink_to(ROOT / "loadtests")
    (folder / ".venv").symlink_to(BIN.parent)
    for name in ("sign_language", "cats_vs_dogs"):
        shutil.copytree(ROOT / "model_store" / name, folder / "model_store" / name)
    for name in ("my_photos", "other_photos"):
        draw_photos(folder / name)
    shutil.copytree(folder / "my_photos" / "ripe", folder / "holiday" / "beach")
    shutil.make_archive(str(folder / "other_photos"), "zip", folder / "other_photos")
    return folder


def draw_photos(folder: Path) -> None:
    """Images of one's own, as far as the commands go: two classes, told apart by their colour."""
    rng = np.random.default_rng(len(folder.name))
    for name, colour in (("ripe", (200, 40, 30)), ("unripe", (60, 160, 40))):
        (folder / name).mkdir(parents=True)
        for number in range(30):
            pixels = np.clip(rng.normal(colour, 40, (48, 48, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")


@pytest.fixture(scope="module")
def letters(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(folder / "model_store", tmp_path_factory.mktemp("log")) as server:
        yield server


def with_ports(text: str, server: Server) -> str:
    return text.replace("127.0.0.1:8501", f"127.0.0.1:{server.rest_api_port}").replace(
        "127.0.0.1:8500", f"127.0.0.1:{server.port}"
    )


def run(command: str, folder: Path) -> str:
    """Run a shell command in the folder, with our commands on the path; what it prints."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SIGNPOST_")}
    environment |= {"PATH": f"{BIN}:{os.environ['PATH']}", "CUDA_VISIBLE_DEVICES": "-1", "COLUMNS": "160"}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=2 * PATIENCE_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


def check_output(printed: str, shown: str) -> None:
    """What a command prints is what the document shows below it, but for the last digits of scores."""
    numbers = re.compile(r"\d+\.\d+")
    assert numbers.sub("N", " ".join(printed.split())) == numbers.sub("N", " ".join(shown.split()))
    found, told = ([float(number) for number in numbers.findall(text)] for text in (printed, shown))
    assert found == pytest.approx(told, abs=2e-3)


@pytest.mark.parametrize("block", SHELL, ids=str)
def test_a_command_does_what_the_document_says(block: Block, letters: Server, folder: Path) -> None:
    command = without_comments(block.text).strip()
    if why := why_not(command):
        pytest.skip(why)
    if "curl" in command and shutil.which("curl") is None:
        pytest.skip("curl not found")
    for single in command.splitlines() if "signpost" in command else [command]:
        plain = single.replace(".venv/bin/", "")
        sooner = next((flags for begin, flags in SOONER.items() if plain.startswith(begin)), "")
        if why := why_not(single):
            continue
        if plain.startswith("make loadtest"):
            flags = with_ports(SOONER["signpost loadtest"], letters)
            recipe = run(f"make -n loadtest ARGS='{flags}'", ROOT)
            [command] = [line for line in recipe.splitlines() if "signpost loadtest " in line]
            assert "sign_language, image" in run(command, folder)
        elif plain.startswith("make train"):
            recipe = run(single.replace("make train", "make -n train"), ROOT)
            [trains] = [line for line in recipe.splitlines() if "signpost train " in line]
            run(f"{trains} {SOONER['signpost train circles']}", folder)
        elif plain.startswith("signpost serve"):
            serve_until_ready(f"{single} {sooner}", folder)
        elif plain.startswith("signpost predict"):
            printed = run(single.replace("signpost predict", f"signpost predict --url {letters.url}"), folder)
            if block.after.startswith(("image ", "{")):
                check_output(printed, block.after)
        else:
            printed = run(with_ports(f"{single} {sooner}", letters), folder)
            if "curl" in single and block.after.startswith("{"):
                check_output(printed, block.after)


def serve_until_ready(command: str, folder: Path) -> None:
    ready, log = folder / "ready.json", folder / "serve.log"
    ready.unlink(missing_ok=True)
    environment = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "CUDA_VISIBLE_DEVICES": "-1"}
    with log.open("w") as sink:
        process = subprocess.Popen(
            ["bash", "-c", f"exec {command}"], cwd=folder, env=environment, stdout=sink, stderr=subprocess.STDOUT
        )
    try:
        wait_until(lambda: ready.exists() or process.poll() is not None, log.read_text)
        assert process.poll() is None, log.read_text()
    finally:
        process.terminate()
        assert process.wait(PATIENCE_S) == 0, log.read_text()


@pytest.mark.parametrize("block", PYTHON, ids=str)
def test_a_python_program_prints_the_letter(
    block: Block, letters: Server, folder: Path, request: pytest.FixtureRequest
) -> None:
    python = "python"
    for package, name in STOCK_CLIENTS.items():
        if package in block.text:
            assert request.config.cache is not None
            python = str(stock_clients.python_with(name, request.config.cache.mkdir("stock_clients")))
    program = folder / "program.py"
    program.write_text(with_ports(block.text, letters))
    [letter] = re.findall(r"hand_(\w)\.png", block.text)
    assert run(f"{python} program.py", folder).split()[0] == letter.upper()


@pytest.mark.skipif(shutil.which("node") is None, reason="node not found")
def test_the_program_for_node_prints_the_letter(letters: Server, folder: Path) -> None:
    [block] = [block for block in BLOCKS if block.language == "javascript"]
    (folder / "program.mjs").write_text(with_ports(block.text, letters))
    assert run("node program.mjs", folder).strip() == "Y"


@pytest.mark.skipif(bool(browser.missing()), reason=browser.missing())
def test_the_lines_for_a_page_print_the_letter(letters: Server, tmp_path: Path) -> None:
    blocks = [block for block in BLOCKS if block.language == "js"]
    assert len(blocks) == 2
    with browsing(tmp_path / "profile") as page:
        page.open(f"{letters.url}/docs")
        page.script("document.body.append(Object.assign(document.createElement('input'), { type: 'file' }))")
        page.one("input[type=file]").send_keys(str(ROOT / "docs" / "images" / "hand_v.png"))
        drawn = """
            const picture = await createImageBitmap(document.querySelector("input[type=file]").files[0]);
            const canvas = Object.assign(document.createElement("canvas"), {
              width: picture.width, height: picture.height,
            });
            canvas.getContext("2d").drawImage(picture, 0, 0);
        """
        for block, before in zip(blocks, ("", drawn), strict=True):
            lines = before + block.text.replace("console.log(", "done(")
            code = f"const done = arguments[0]; (async () => {{ {lines} }})().catch((error) => done(String(error)))"
            assert page.driver.execute_async_script(code) == "V"


def test_the_json_in_the_documents_is_json() -> None:
    for block in BLOCKS:
        if block.language == "json" or block.text.startswith('{"'):
            json.loads(block.text)


def test_every_command_is_run_or_has_a_reason() -> None:
    assert len(SHELL) > 12
    unknown = [
        str(block)
        for block in BLOCKS
        if block.language in ("sh", "bash", "shell", "console") and block not in COMMANDS and not why_not(block.text)
    ]
    assert unknown == []
    assert {block.language for block in BLOCKS} <= {"", "sh", "json", "python", "javascript", "js"}


def test_the_pictures_that_the_documents_show_are_there_and_small() -> None:
    for path in DOCUMENTS:
        for link in re.findall(r"(?:!\[[^]]+\]\(|<img src=\")([^)\"]+)", path.read_text()):
            picture = path.parent / link
            assert picture.is_file(), f"{path.name} shows {link}"
            assert picture.stat().st_size < 200_000
