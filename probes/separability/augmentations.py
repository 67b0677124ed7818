"""Changes of an image that training may make, and features of images changed in that way."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import numpy.typing as npt

from probes.images.prepare import Prepared
from probes.network.features import Network, Tapped, batches, tapped

SMALLEST_AREA = 0.7  # share of the image's area that a crop keeps at least; what training crops
BRIGHTNESS = 0.2  # largest relative change of brightness

Pixels = npt.NDArray[np.float32]


def _crop(picture: Pixels, rng: np.random.Generator) -> Pixels:
    """A square part of at least `SMALLEST_AREA`, enlarged to the whole by linear interpolation."""
    share = float(np.sqrt(rng.uniform(SMALLEST_AREA, 1.0)))
    for axis in (0, 1):
        length = picture.shape[axis]
        start = rng.uniform(0.0, 1.0 - share) * length
        places = np.clip(start + share * (np.arange(length) + 0.5) - 0.5, 0, length - 1)
        below = np.floor(places).astype(np.int64)
        weight = (places - below).astype(np.float32).reshape((-1,) + (1,) * (picture.ndim - 1 - axis))
        here, there = (np.take(picture, rows, axis) for rows in (below, np.minimum(below + 1, length - 1)))
        picture = here + weight * (there - here)
    return picture


def _brightness(picture: Pixels, rng: np.random.Generator) -> Pixels:
    """All colours times one factor; alpha stays."""
    changed = picture.copy()
    colours = changed[..., :3]
    np.clip(colours * np.float32(1.0 + rng.uniform(-BRIGHTNESS, BRIGHTNESS)), 0, 255, out=colours)
    return changed


_AUGMENTATIONS: dict[str, Callable[[Pixels, np.random.Generator], Pixels]] = {
    "mirror": lambda picture, _: picture[:, ::-1],  # left and right
    "flip": lambda picture, _: picture[::-1],  # top and bottom
    "quarter_turn": lambda picture, rng: np.rot90(picture, 1 + 2 * int(rng.integers(2))),  # one way or the other
    "crop": _crop,
    "brightness": _brightness,
}
CANDIDATES = tuple(_AUGMENTATIONS)
# These move pixels and change none: a copy can be recognised only by what the image shows. A crop or a change of
# brightness loses detail, by which every copy can be recognised.
SYMMETRIES = ("mirror", "flip", "quarter_turn")


def augment(pixels: Pixels, name: str, rng: np.random.Generator) -> Pixels:
    """Change each of several images, of shape (n, size, size, channels) and 0 to 255, at random."""
    return np.stack([_AUGMENTATIONS[name](picture, rng) for picture in pixels])


def augmented_blocks(
    network: Network,
    pictures: Iterable[Prepared],
    names: Sequence[str] = CANDIDATES,
    *,
    seed: int,
    run: Tapped | None = None,
) -> dict[str, dict[str, Pixels]]:
    """Pooled features of augmented images: for each augmentation and cut of shape (images, channels).

    The random changes of one augmentation do not depend on the others. `run` is the network compiled by `tapped`.
    """
    run = run or tapped(network)
    rngs = {name: np.random.default_rng([seed, CANDIDATES.index(name)]) for name in names}
    outputs: dict[str, list[list[Pixels]]] = {name: [] for name in names}
    for batch in batches(pictures):
        pixels = np.stack([picture.pixels for picture in batch])
        for name in names:
            pooled = run(augment(pixels, name, rngs[name]))[: len(network.cuts)]
            outputs[name].append([block.numpy() for block in pooled])
    return {
        name: dict(zip(network.cuts, (np.concatenate(parts) for parts in zip(*done, strict=True)), strict=True))
        for name, done in outputs.items()
    }
