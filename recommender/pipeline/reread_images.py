"""Images as the network sees them, read again after they were measured."""

import numpy as np
import numpy.typing as npt

from probes.data.image_index import ImageIndex
from probes.errors import ProbeError
from probes.images.decode import Picture, UnreadableImage, resize
from probes.images.image_facts import open_picture


def read_prepared(index: ImageIndex, name: str, size: int, channels: int) -> tuple[Picture, npt.NDArray[np.float32]]:
    """An image of the index, and its pixels as in measuring, of shape (size, size, channels), 0 to 255."""
    try:
        picture = open_picture(index.store, name, channels)
    except UnreadableImage as error:
        raise ProbeError(
            f"Expected the image {name!r} to stay as it was measured. Received: {error}. Start again."
        ) from error
    return picture, resize(picture.pixels, size)
