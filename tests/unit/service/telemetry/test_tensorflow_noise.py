"""What TensorFlow writes while it is imported is shown where something fails, and nowhere else."""

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from service.telemetry.tensorflow_noise import held_back, show_left


def write(text: str) -> None:
    """As C++ does: to the descriptor."""
    os.write(2, text.encode())


def test_what_comes_meanwhile_is_not_shown_but_logged_for_debugging(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    caplog.set_level(logging.DEBUG)
    with held_back(tmp_path):
        write("I0000 oneDNN custom operations are on.\n\n")
    write("after\n")
    assert capfd.readouterr().err.endswith("after\n")
    assert [(each.levelno, each.message) for each in caplog.records] == [
        (logging.DEBUG, "I0000 oneDNN custom operations are on.")
    ]
    assert list(tmp_path.iterdir()) == []


def test_where_the_import_fails_it_is_logged_as_an_error(caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        with held_back():
            write("E0000 libcudart.so.12: cannot open shared object file\n")
            raise ImportError("no")

    with pytest.raises(ImportError):
        fail()
    [record] = caplog.records
    assert (record.levelno, record.message) == (logging.ERROR, "E0000 libcudart.so.12: cannot open shared object file")


def test_what_an_aborted_process_wrote_is_shown_by_another(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    program = (
        "import os, pathlib, sys; from service.telemetry.tensorflow_noise import held_back\n"
        "with held_back(pathlib.Path(sys.argv[1])):\n"
        "    os.write(2, b'F0000 compiled to use AVX instructions\\n')\n"
        "    os.abort()"
    )
    process = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stderr=subprocess.PIPE)
    assert process.communicate(timeout=60)[1] == b""
    show_left(tmp_path, process.pid)
    assert [each.message for each in caplog.records] == ["F0000 compiled to use AVX instructions"]
    show_left(tmp_path, process.pid)  # nothing is left now
    assert len(caplog.records) == 1
