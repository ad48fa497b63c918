"""`make gpu-check` on a host without a GPU: a start and a killed engine, for real."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_it_runs_where_there_is_no_gpu_and_says_so(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "model_store" / "sign_language", tmp_path / "store" / "sign_language")
    command = [sys.executable, "-m", "loadtests.gpu.check", "--store", tmp_path / "store", "--out", tmp_path / "out"]
    done = subprocess.run(
        [*command, "--steps=start,kill,memory"], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "out" / "check.json").read_text())
    if not found["machine"]["gpus"]:
        assert "There is no GPU" in done.stdout
    [killed] = [row for row in found["rows"] if row["step"] == "kill"]
    assert killed["good"]
    assert set(killed["figures"]["statuses"]) == {"200", "503"}
