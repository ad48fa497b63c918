"""What this service uses of gunicorn: each name, and how it is called. A new gunicorn fails here, not at a drain."""

import ast
import inspect
from pathlib import Path
from typing import Any, Final

import gunicorn.app.base
import gunicorn.arbiter
import gunicorn.config
import gunicorn.errors
import gunicorn.glogging
import gunicorn.sock
import gunicorn.workers.base
import pytest

ROOT: Final = Path(__file__).parents[4]
# What is imported of it, anywhere in the service.
IMPORTS: Final = {
    "gunicorn.app.base.BaseApplication",
    "gunicorn.arbiter.Arbiter",
    "gunicorn.errors.HaltServer",
    "gunicorn.glogging.Logger",
    "gunicorn.sock",
    "gunicorn.workers.base",
}
# Meant for others: the place for workers, for applications and for loggers.
MEANT: Final = {
    "workers.base.Worker.__init__": "(self, age, ppid, sockets, app, timeout, cfg, log)",
    "workers.base.Worker.run": "(self)",
    "workers.base.Worker.init_process": "(self)",
    "workers.base.Worker.notify": "(self)",
    "workers.base.Worker.handle_exit": "(self, sig, frame)",
    "app.base.BaseApplication.__init__": "(self, usage=None, prog=None)",
    "app.base.BaseApplication.load_config": "(self)",
    "app.base.BaseApplication.load": "(self)",
    "app.base.BaseApplication.run": "(self)",
    "config.Config.set": "(self, name, value)",
    "glogging.Logger.setup": "(self, cfg)",
}
# Its own business: the arbiter has no place for others, but no other way to start workers before the old ones stop.
ITS_OWN: Final = {
    "arbiter.Arbiter.__init__": "(self, app)",
    "arbiter.Arbiter.run": "(self)",
    "arbiter.Arbiter.handle_term": "(self)",
    "arbiter.Arbiter.handle_int": "(self)",
    "arbiter.Arbiter.wait_for_signals": "(self, timeout=1.0)",
    "arbiter.Arbiter.reload": "(self)",
    "arbiter.Arbiter.manage_workers": "(self)",
    "arbiter.Arbiter.reap_workers": "(self)",
    "arbiter.Arbiter.reexec": "(self)",
    "arbiter.Arbiter.spawn_worker": "(self)",
    "arbiter.Arbiter.kill_worker": "(self, pid, sig)",
    "sock.create_sockets": "(conf, log, fds=None)",
}
# Attributes, and a word of the source that makes or reads them.
ATTRIBUTES: Final = {
    "workers.base.Worker": (
        "self.alive = True",
        "self.alive = False",
        "self.ppid = ppid",
        "self.app = app",
        "self.sockets = sockets",
    ),
    "arbiter.Arbiter": (
        "self.LISTENERS",
        "self.WORKERS",
        "self.START_CTX['args']",
        "self.num_workers",
        "self.reexec_pid",
        "except (StopIteration, KeyboardInterrupt)",
        "except HaltServer",
        "GUNICORN_FD",
        "env_orig",
    ),
}
SETTINGS: Final = (
    "bind", "workers", "worker_class", "graceful_timeout", "loglevel", "logger_class", "proc_name",
    "control_socket_disable", "pre_exec", "pre_fork", "post_fork", "post_worker_init", "worker_exit", "child_exit",
)  # fmt: skip


def found(name: str) -> Any:
    thing: Any = gunicorn
    for part in name.split("."):
        thing = getattr(thing, part)
    return thing


def test_nothing_else_is_imported() -> None:
    names = set()
    for path in (ROOT / "service").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("gunicorn"):
                names |= {f"{node.module}.{alias.name}" for alias in node.names}
            elif isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names if alias.name.startswith("gunicorn")}
    assert names == IMPORTS


@pytest.mark.parametrize(("name", "signature"), {**MEANT, **ITS_OWN}.items(), ids={**MEANT, **ITS_OWN})
def test_it_is_called_as_it_was(name: str, signature: str) -> None:
    assert str(inspect.signature(found(name))) == signature


@pytest.mark.parametrize(("name", "words"), ATTRIBUTES.items(), ids=ATTRIBUTES)
def test_its_attributes_are_there(name: str, words: tuple[str, ...]) -> None:
    source = inspect.getsource(found(name))
    assert [word for word in words if word not in source] == []


@pytest.mark.parametrize("name", SETTINGS)
def test_its_settings_are_there(name: str) -> None:
    assert name in gunicorn.config.Config().settings
