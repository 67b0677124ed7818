"""Small copies of images, as data URIs."""

import io
import os
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence

from PIL import Image

from probes.data.image_index import ImageIndex
from probes.images.decode import UnreadableImage, in_order, quiet_decoders
from probes.images.image_facts import open_picture

SIDE = 96  # px at most
MOST = 150  # images that are read at most
_QUALITY = 78
_MOST_PIXELS = 100_000_000  # that are decoded at most: photographs from a camera would take minutes. Ours.
_UNKNOWN = 1_000_000  # pixels that an image of unknown size counts as


def read_thumbnails(
    index: ImageIndex, names: Iterable[str], sizes: Mapping[str, Sequence[int]]
) -> dict[str, str | None]:
    """Name -> data URI of a JPEG, None where the image can't be read now; the first of the names, as limits allow.

    `sizes` are (width, height) in px of images whose size is known.
    """
    chosen: list[str] = []
    pixels = 0
    for name in dict.fromkeys(names):
        width, height = sizes.get(name, (_UNKNOWN, 1))
        if len(chosen) < MOST and pixels + width * height <= _MOST_PIXELS:
            chosen.append(name)
            pixels += width * height

    def read(name: str) -> str | None:
        try:
            return data_uri(open_picture(index.store, name).rgb)
        except UnreadableImage:
            return None

    workers = os.cpu_count() or 1
    with quiet_decoders():
        return dict(zip(chosen, in_order(read, chosen, workers=workers, ahead=2 * workers), strict=True))


def data_uri(pixels: "object") -> str:
    """A small JPEG of uint8 pixels of shape (height, width, 3)."""
    image = Image.fromarray(pixels)  # type: ignore[arg-type]
    image.thumbnail((SIDE, SIDE), reducing_gap=2.0)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=_QUALITY)
    return "data:image/jpeg;base64," + b64encode(buffer.getvalue()).decode("ascii")
