"""What requests may cost, by the settings of the service."""

from dataclasses import dataclass

from service.images import ImageLimits
from service.settings import Settings


@dataclass(frozen=True)
class Rules:
    """What requests may cost.

    Attributes:
        image: one encoded image.
        max_images: in a request.
        max_rows: instances in a request, where requests are batched.
        batch_wait_us: microseconds that a batch waits for more; None where requests are not batched.
    """

    image: ImageLimits
    max_images: int
    max_rows: int
    batch_wait_us: int | None


def from_settings(settings: Settings) -> Rules:
    """The rules that the settings make."""
    return Rules(
        ImageLimits(settings.max_image_bytes, settings.max_image_pixels),
        settings.max_images,
        settings.max_batch_size * settings.max_enqueued_batches,
        settings.batch_timeout_micros if settings.enable_batching else None,
    )
