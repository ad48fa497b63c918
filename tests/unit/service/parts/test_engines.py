"""The engine that stands before the others is put together as the settings say."""

import time
from pathlib import Path

import numpy as np
import pytest

from service.config.settings import Settings
from service.interface import Call, ModelSpec
from service.parts import engines, plan
from tests.fakes import FakeEngine, classifier

BLACK = {"image": np.zeros((1, 2, 3, 3), dtype=np.uint8)}


@pytest.mark.parametrize(("reject", "best"), [(False, 1.0), (True, 0.0)])
def test_strangers_are_rejected_where_the_settings_say_so(tmp_path: Path, reject: bool, best: float) -> None:
    inner = FakeEngine(classifier(tells=True))
    made = plan.make(Settings(store=tmp_path, reject_unknown=reject))
    engine = engines.canary_engine(made, inner, lambda *_: None)
    with engine.lease(ModelSpec("fake")) as servable:
        answer = servable.predict(BLACK, Call(time.monotonic() + 60, outputs=("scores",)))
    assert answer.outputs["scores"].max() == best
