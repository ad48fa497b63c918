"""A checkpoint comes back as it was, or says why not."""

import errno
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.errors import StoreError
from training.errors import TrainingError
from training.loop import checkpoints
from training.loop.checkpoints import Checkpoint


def state(epoch: int = 3) -> Checkpoint:
    arrays = [np.full((n + 1, 2), n, dtype=np.float32) for n in range(12)]
    return Checkpoint(
        identity={"seed": 1, "choices": {"size": [28, 28]}},
        epoch=epoch,
        network=arrays,
        optimizer=[np.array(7, dtype=np.int64), *arrays[:2]],
        average=arrays[::-1],
        average_steps=55,
        history=[{"loss": 0.1}, {"loss": 0.30000000000000004}],
    )


def test_what_is_saved_comes_back(tmp_path: Path) -> None:
    checkpoints.save(tmp_path / "new", state())
    back = checkpoints.load(tmp_path / "new")
    for name in ("network", "optimizer", "average"):
        for array, expected in zip(getattr(back, name), getattr(state(), name), strict=True):
            np.testing.assert_array_equal(array, expected)
            assert array.dtype == expected.dtype
    assert (back.identity, back.epoch, back.average_steps) == (state().identity, 3, 55)
    assert back.history == state().history


def test_a_full_disk_is_a_clear_error_and_the_last_checkpoint_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints.save(tmp_path, state(epoch=1))

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(StoreError, match=r"can't be written: No space left on device; .*--checkpoints"):
        checkpoints.save(tmp_path, state(epoch=2))
    assert checkpoints.load(tmp_path).epoch == 1
    assert [path.name for path in tmp_path.iterdir()] == [checkpoints.FILE]


def test_a_missing_or_broken_checkpoint_says_so(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="no checkpoint at"):
        checkpoints.load(tmp_path)
    path = checkpoints.save(tmp_path, state())
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(TrainingError, match="is corrupt"):
        checkpoints.load(tmp_path)
