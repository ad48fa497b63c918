"""The engine that stands before the others is put together as the settings say."""

import time

import numpy as np
import pytest

from service.config.settings import Settings
from service.interface import Call, ModelSpec
from service.parts import engines
from tests.fakes import FakeEngine, classifier

BLACK = {"image": np.zeros((1, 2, 3, 3), dtype=np.uint8)}


@pytest.mark.parametrize(("reject", "best"), [(False, 1.0), (True, 0.0)])
def test_strangers_are_rejected_where_the_settings_say_so(reject: bool, best: float) -> None:
    inner = FakeEngine(classifier(tells=True))
    engine = engines.canary_engine(Settings(reject_unknown=reject), inner, lambda *_: None)
    with engine.lease(ModelSpec("fake")) as servable:
        answer = servable.predict(BLACK, Call(time.monotonic() + 60, outputs=("scores",)))
    assert answer.outputs["scores"].max() == best
