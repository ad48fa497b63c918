"""Closed-loop load on one model: every user posts an image, waits for the answer, and posts again.

    signpost serve &
    locust -f loadtests/locustfile.py --headless --users 32 --run-time 20s --host http://127.0.0.1:8501

`SIGNPOST_LOAD_MODEL` names the model (sign_language by default), `SIGNPOST_LOAD_IMAGE` a file to post instead of an
image that is drawn.
"""

import io
import os
from pathlib import Path

import numpy as np
from locust import FastHttpUser, constant, events, task
from locust.env import Environment
from PIL import Image

MODEL = os.environ.get("SIGNPOST_LOAD_MODEL", "sign_language")


def image() -> bytes:
    """The image to post: a file's bytes, or a PNG of 28x28 random pixels."""
    path = os.environ.get("SIGNPOST_LOAD_IMAGE")
    if path:
        return Path(path).read_bytes()
    pixels = np.random.default_rng(0).integers(0, 256, (28, 28), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


class PlainImageUser(FastHttpUser):
    """Posts one image as the body, without thinking time."""

    wait_time = constant(0)
    default_headers = {"Content-Type": "image/png"}  # noqa: RUF012 - Locust reads it as a plain attribute

    def on_start(self) -> None:
        """Make the image once."""
        self.image = image()

    @task
    def predict(self) -> None:
        """Post the image; an answer that names no class is a failure."""
        path = f"/v1/models/{MODEL}:predict"
        # Locust's annotation knows only text, but bytes are sent as they are.
        with self.client.post(path, data=self.image, catch_response=True) as response:  # type: ignore[arg-type]
            if response.status_code != 200 or not response.text.startswith('{"model"'):
                response.failure(f"{response.status_code}: {(response.text or '')[:200]}")


@events.quitting.add_listener  # type: ignore[untyped-decorator]  # so is Locust's own
def fail_on_errors(environment: Environment, **_: object) -> None:
    """Exit with 1 when a request failed, so that a script can gate on it."""
    if environment.stats.total.num_failures or not environment.stats.total.num_requests:
        environment.process_exit_code = 1
