"""Images that the tests of the gateway post."""

import io

from PIL import Image


def flat(colour: int, kind: str = "PNG", size: tuple[int, int] = (8, 8)) -> bytes:
    """A grey image; to the fake classifier `colour` / 255 is the score of its last class."""
    buffer = io.BytesIO()
    Image.new("L", size, colour).save(buffer, kind)
    return buffer.getvalue()


WHITE, BLACK, GREY = flat(255), flat(0), flat(51)
