"""What was chosen before is found again, on the same host, for the same files; and nothing else is."""

import json
import threading
import time
from pathlib import Path

import pytest

from service.engine.runtimes.remembered import Remembered, fingerprint, processor
from service.interface import RunBy

ABOUT = {"files": "abc", "processor": "Xeon", "openvino": "2026.4", "threads": 1, "sizes": (1, 8, 32)}
CHOSEN = RunBy("openvino", 1.5)


def test_a_choice_is_found_again_by_all_that_it_hangs_on(tmp_path: Path) -> None:
    folder = tmp_path / "made" / "when needed"
    assert Remembered(folder, ABOUT).read() is None
    Remembered(folder, ABOUT).write(CHOSEN)
    assert Remembered(folder, dict(reversed(ABOUT.items()))).read() == CHOSEN
    for name, other in (("files", "abd"), ("processor", "EPYC"), ("openvino", "2026.5"), ("threads", 2)):
        assert Remembered(folder, {**ABOUT, name: other}).read() is None


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "[]", "null", '"openvino"', "{}", '{"runtime": 3, "gain": 1, "why": ""}',
        '{"runtime": "openvino", "gain": "x", "why": ""}', '{"runtime": "openvino", "gain": NaN, "why": ""}',
        '{"runtime": "openvino", "gain": -1, "why": ""}', '{"runtime": "openvino", "gain": 2}', "\x00\xff",
    ],
)  # fmt: skip
def test_a_damaged_file_is_as_if_it_were_not_there(tmp_path: Path, text: str) -> None:
    remembered = Remembered(tmp_path, ABOUT)
    remembered.write(CHOSEN)
    (file,) = tmp_path.glob("*.json")
    assert json.loads(file.read_text())["runtime"] == "openvino"
    file.write_text(text, encoding="latin-1")
    assert remembered.read() is None
    remembered.write(CHOSEN)
    assert remembered.read() == CHOSEN
    assert [path.name for path in tmp_path.iterdir()] == [file.name]


def test_a_folder_that_can_not_be_written_is_told_and_costs_nothing_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    blocked = tmp_path / "file"
    blocked.touch()
    remembered = Remembered(blocked / "folder", ABOUT)
    with remembered.alone():
        remembered.write(CHOSEN)
    assert remembered.read() is None
    assert "can't be kept" in caplog.text


def test_of_several_processes_one_tries_and_the_others_wait_for_it(tmp_path: Path) -> None:
    found: list[RunBy | None] = []
    begun = threading.Event()

    def other() -> None:
        remembered = Remembered(tmp_path, ABOUT)
        begun.set()
        with remembered.alone():
            found.append(remembered.read())

    thread = threading.Thread(target=other)
    remembered = Remembered(tmp_path, ABOUT)
    with remembered.alone():
        thread.start()
        assert begun.wait(10)
        time.sleep(0.1)  # so that it would be through if it did not wait
        remembered.write(CHOSEN)
    thread.join(10)
    assert found == [CHOSEN]


def test_a_fingerprint_tells_other_weights_and_other_golden_samples(tmp_path: Path) -> None:
    (tmp_path / "variables").mkdir()
    for name in ("saved_model.pb", "variables/variables.index", "variables/variables.data-00000-of-00001"):
        (tmp_path / name).write_bytes(b"one")
    before = fingerprint(tmp_path)
    assert fingerprint(tmp_path) == before
    (tmp_path / "variables/variables.index").write_bytes(b"two")  # it holds checksums of the weights
    assert fingerprint(tmp_path) != before
    before = fingerprint(tmp_path)
    (tmp_path / "assets.extra").mkdir()
    (tmp_path / "assets.extra/golden.npz").write_bytes(b"one")
    assert fingerprint(tmp_path) != before


def test_processors_are_told_apart_by_what_they_can_do(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    entry = "processor\t: {}\nmodel name\t: Xeon\ncpu MHz\t\t: {}\nflags\t\t: avx2 {}\n\n"
    cpuinfo.write_text(entry.format(0, 2000.1, "amx") + entry.format(1, 2100.5, "amx"))
    assert processor(cpuinfo) == "Xeon avx2 amx"
    cpuinfo.write_text(entry.format(0, 2600, "avx512"))
    assert processor(cpuinfo) == "Xeon avx2 avx512"
    assert processor(tmp_path / "nothing")
