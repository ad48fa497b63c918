"""The log: one line for each event, as text or as JSON, and on request one for each answered request.

Whatever a client sends can neither end a line nor begin another, nor move the cursor of a terminal: control characters
are escaped, and lines of a traceback are indented.
"""

import fcntl
import hashlib
import json
import logging
import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

access = logging.getLogger("signpost.access")

# What ends a line or steers a terminal, and what turns the direction of text.
_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_TEXT: Final = "%(asctime)s %(levelname)s %(message)s"
# Seconds in which the same message of another process of the service is a repetition.
_SAME_S: Final = 600.0


def configure(level: str, as_json: bool) -> None:
    """Send this process's log, and those of the processes that it will fork, to what standard error is now.

    Args:
        level: the least severe messages to tell.
        as_json: each line is an object of JSON.
    """
    # A copy of the descriptor, as what libraries write to the other one is held back at times (`tensorflow_noise`).
    copy = os.dup(2)  # for as long as the process lives
    handler = logging.StreamHandler(os.fdopen(copy, "w", 1, "utf-8", "backslashreplace", closefd=False))
    handler.setFormatter(_Json() if as_json else _Text(_TEXT))
    logging.basicConfig(level=level.upper(), handlers=[handler])
    logging.captureWarnings(as_json)
    logging.getLogger("PIL").setLevel(logging.WARNING)  # with "debug" it would tell what is in an image's metadata
    access.setLevel(logging.INFO)  # whoever asks for it wants it at any level


def name_process(name: str, folder: Path) -> None:
    """Say in each line which process of the service it is from, and what concerns all of them only once.

    Args:
        name: of the process, such as `worker 123`.
        folder: that all processes of the service share.
    """
    for handler in logging.getLogger().handlers:
        handler.addFilter(_OncePerService(folder / "logged"))
        if isinstance(handler.formatter, _Text):
            handler.formatter.process_name = name


class _OncePerService(logging.Filter):
    """Lets a record with `extra={"once": True}` pass in one process of the service only: the first that logs it.

    Every worker sees a broken folder or a new version by itself. Whoever was first may log it again; another one may
    after `_SAME_S`. Another value than True is what tells records apart, instead of their message.
    """

    def __init__(self, file: Path) -> None:
        super().__init__()
        self._file = file

    def filter(self, record: logging.LogRecord) -> bool:
        once = getattr(record, "once", False)
        if not once:
            return True
        key = record.getMessage() if once is True else str(once)
        digest, now_s = hashlib.sha256(key.encode("utf-8", "replace")).hexdigest(), time.time()
        try:
            with self._file.open("a+") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                file.seek(0)
                logged = {each: by for each, by in json.loads(file.read() or "{}").items() if now_s - by[1] < _SAME_S}
                pid, _ = logged.get(digest, (os.getpid(), 0.0))
                if pid != os.getpid():
                    return False
                logged[digest] = (pid, now_s)
                file.truncate(0)
                file.write(json.dumps(logged))
        except (OSError, ValueError):  # a full disk: rather twice than not at all
            pass
        return True


@dataclass
class Answered:
    """What the log tells of an answered request; no key, no content, nothing that a client may choose freely.

    Attributes:
        protocol: `HTTP`, `gRPC`, or `hop` for a gateway's call to the engine process of its service.
        request_id: its ID; of a call that joins several requests all of them, separated by commas.
        method: HTTP's method, or `POST` for the others.
        route: the rule that took it, with the names of what varies instead of their values.
        status: HTTP's number or gRPC's name.
        model: the model that answered; empty where none did.
        version: its version.
        images: images that were decoded for it.
        instances: instances that were answered.
        stages_s: seconds of each stage.
        bytes_in: size of its body; None where the client did not tell.
        bytes_out: size of the answer's body; None where it is not known.
        client: the address of the peer; that of a proxy where there is one.
    """

    protocol: str
    request_id: str
    method: str
    route: str
    status: int | str
    model: str = ""
    version: str = ""
    images: int = 0
    instances: int = 0
    stages_s: Mapping[str, float] = field(default_factory=dict)
    bytes_in: int | None = None
    bytes_out: int | None = None
    client: str = ""

    def write(self) -> None:
        """Write the line."""
        access.info("Answered.", extra={"fields": self.fields()})

    def fields(self) -> dict[str, Any]:
        """What it tells, by name; times in milliseconds, without what does not apply."""
        told: dict[str, Any] = {
            "request_id": self.request_id,
            "protocol": self.protocol,
            "method": self.method,
            "route": self.route,
            "status": self.status,
            "model": self.model,
            "version": int(self.version) if self.version else None,
            "images": self.images or None,
            "instances": self.instances or None,
            **{f"{stage}_ms": round(seconds * 1e3, 3) for stage, seconds in self.stages_s.items()},
            "bytes_in": self.bytes_in,
            "bytes_out": self.bytes_out,
            "client": self.client,
        }
        return {name: value for name, value in told.items() if value not in (None, "")}


def escape(text: str) -> str:
    r"""A text without control characters: each becomes its escape, e.g. `\n`."""
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


class _Text(logging.Formatter):
    process_name = ""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        if self.process_name and not getattr(record, "once", False):
            record.message = f"{self.process_name}: {record.message}"
        fields = getattr(record, "fields", None)
        if fields is not None:
            record.message += " " + " ".join(f"{name}={value}" for name, value in fields.items())
        record.message = escape(record.message)
        return super().formatMessage(record)

    def formatException(self, ei: Any) -> str:  # noqa: N802 - logging's name
        lines = super().formatException(ei).split("\n")
        return "\n".join(f"    {escape(line)}" for line in lines)


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "process": record.process,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)  # ASCII only: whatever it was, it is escaped
