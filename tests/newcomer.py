"""Plays the README in a fresh clone as somebody would who has only just found it, and prints minutes and megabytes.

    python3 tests/newcomer.py [--python python3.12]

Every command of the README's first sections, and of the guides' first pages, runs in the order in which it stands
there, in a copy of what is committed, with nothing installed; servers stay up while the others run. Not a test: it
installs gigabytes, and what it prints depends on the network and on what pip has in its cache.
"""

import argparse
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
# Documents, and those of their sections that a newcomer reads first.
PAGES: Final = {
    "README.md": ("Start", "First prediction", "First training", "First load test"),
    "docs/training.md": ("In a minute",),
    "docs/versions.md": ("Commands",),
}
COMMAND: Final = re.compile(r"(?:\.venv/bin/|make |curl |echo |signpost )")
PATIENCE_S: Final = 1800.0


@dataclass
class Newcomer:
    """Somebody at a shell in a folder.

    Attributes:
        folder: the clone.
        python: the command that makes the virtual environment.
        servers: what runs in the background.
        ports: where the documents say a server listens, and where it really does.
    """

    folder: Path
    python: str
    servers: list[subprocess.Popen[bytes]] = field(default_factory=list)
    ports: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.ports = {each: str(free_port()) for each in ("8501", "8500", "8601", "8600")}

    def run(self, command: str) -> tuple[int, str]:
        """Run a command to its end, or a server until it is ready; its exit code and what it printed."""
        command = re.sub(r"\b(8501|8500|8601|8600)\b", lambda found: self.ports[found[0]], command)
        # It has no port in it, but asks where a first service listens.
        command = command.replace("signpost predict", f"signpost predict --url http://127.0.0.1:{self.ports['8501']}")
        if re.search(r"make serve|signpost serve", command):
            return self._serve(command)
        done = subprocess.run(
            ["bash", "-c", command], cwd=self.folder, env=self._environment(), stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, timeout=PATIENCE_S, check=False,
        )  # fmt: skip
        return done.returncode, done.stdout

    def _serve(self, command: str) -> tuple[int, str]:
        ready, log = self.folder / f"ready-{len(self.servers)}.json", self.folder / f"server-{len(self.servers)}.log"
        environment = self._environment() | {"SIGNPOST_READY_FILE": str(ready)}
        if "--rest_api_port" not in command:
            environment |= {"SIGNPOST_REST_API_PORT": self.ports["8501"], "SIGNPOST_PORT": self.ports["8500"]}
        with log.open("wb") as sink:
            server = subprocess.Popen(
                ["bash", "-c", f"exec {command}"], cwd=self.folder, env=environment, stdout=sink, stderr=sink,
                start_new_session=True,
            )  # fmt: skip
        self.servers.append(server)
        until_s = time.monotonic() + PATIENCE_S
        while not ready.exists() and server.poll() is None and time.monotonic() < until_s:
            time.sleep(0.1)
        if ready.exists():
            json.loads(ready.read_text())
        return (0 if ready.exists() else server.poll() or 1), log.read_text("utf-8", "replace")

    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("SIGNPOST_", "PYTHONPATH"))}
        # `signpost` alone is what an activated environment has.
        return kept | {"PYTHON": self.python, "PATH": f"{self.folder}/.venv/bin:{os.environ['PATH']}"}

    def leave(self) -> None:
        """Stop the servers."""
        for server in self.servers:
            if server.poll() is None:
                os.killpg(server.pid, signal.SIGTERM)
        for server in self.servers:
            server.wait(60)


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def commands() -> Iterator[tuple[str, str]]:
    """The commands of the pages in their order, each with where it stands."""
    for name, sections in PAGES.items():
        text = (ROOT / name).read_text("utf-8")
        for section in sections:
            found = re.search(rf"^## {re.escape(section)}$(.*?)(?=^## |\Z)", text, re.M | re.S)
            if found is None:
                sys.exit(f"{name} has no section {section!r}; change PAGES in {Path(__file__).name}.")
            for block in re.findall(r"^```(?:sh)?\n(.*?)^```$", found[1], re.M | re.S):
                if COMMAND.match(block):
                    yield from ((f"{name}, {section}", command) for command in joined(block))


def joined(block: str) -> Iterator[str]:
    """The commands of a block; one whose line ends in a pipe or a backslash goes on."""
    for command in re.findall(r"(?:.*[|\\]\n)*.+", block):
        yield re.sub(r"\s+#.*$", "", command).strip()


def installed_mb(folder: Path) -> float:
    """The size of the virtual environment, in megabytes."""
    venv = folder / ".venv"
    if not venv.exists():
        return 0.0
    return sum(path.lstat().st_size for path in venv.rglob("*") if not path.is_dir()) / 1e6


def fetched_mb(printed: str) -> float:
    """What pip says that it fetched, from the network or from its cache, in megabytes."""
    sizes = re.findall(r"(?:Downloading|Using cached) .*\(([\d.]+) (kB|MB|GB)\)", printed)
    return sum(float(number) * {"kB": 1e-3, "MB": 1.0, "GB": 1e3}[unit] for number, unit in sizes)


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--python", default="python3", help="The Python that the clone is to use.")
    asked = options.parse_args()
    failed = 0
    with tempfile.TemporaryDirectory(prefix="newcomer-") as temporary:
        folder = Path(temporary) / "signpost"
        subprocess.run(["git", "clone", "--quiet", "--depth=1", f"file://{ROOT}", str(folder)], check=True)
        newcomer = Newcomer(folder, shutil.which(asked.python) or asked.python)
        began_s = time.monotonic()
        try:
            print(f"{'seconds':>8} {'fetched MB':>11} {'.venv MB':>9}  command", flush=True)
            for where, command in commands():
                since_s = time.monotonic()
                code, printed = newcomer.run(command)
                seconds = time.monotonic() - since_s
                short = " ".join(command.split())
                print(
                    f"{seconds:8.1f} {fetched_mb(printed):11.0f} {installed_mb(folder):9.0f}  {short[:100]}", flush=True
                )
                if code:
                    failed += 1
                    print(f"{where}: this ended with exit code {code}:\n{printed[-2000:]}", flush=True)
        finally:
            newcomer.leave()
        print(f"{time.monotonic() - began_s:8.1f} in all; {failed} commands failed.")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
