"""An engine without TensorFlow, and a client of the gateway before it."""

import pytest
from flask.testing import FlaskClient

from service.config.settings import Settings
from service.gateway import create_app
from service.gateway.routes.metrics import Metrics
from service.security import access
from tests.fakes import FakeEngine, classifier


@pytest.fixture
def engine() -> FakeEngine:
    """Versions 1 and 2 of `letters`, the first also under the label `stable`; its images are 2 x 3 RGB."""
    return FakeEngine(
        classifier("letters", 1, ("A", "B", "C")), classifier("letters", 2, ("A", "B", "C")), labels={"stable": 1}
    )


@pytest.fixture
def settings() -> Settings:
    return Settings(max_body_bytes=20_000, max_image_bytes=5_000, max_image_pixels=10_000, max_images=3)


@pytest.fixture
def client(engine: FakeEngine, settings: Settings) -> FlaskClient:
    return create_app(settings, engine, Metrics(engine), admits=access.read(settings).access()).test_client()
