"""Changes of an image that training may make, and features of images changed in that way."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import numpy.typing as npt

from probes.images.prepare import Prepared
from probes.network.features import Network, Tapped, batches, tapped

SMALLEST_AREA = 0.7  # share of the image's area that a crop keeps at least; what training crops
BRIGHTNESS = 0.2  # largest relative change of brightness

Pixels = npt.NDArray[np.float32]


def _quarter_turn(picture: Pixels, rng: np.random.Generator) -> Pixels:
    """A quarter turn, one way or the other."""
    return np.rot90(picture, 1 + 2 * int(rng.integers(2)))


def _crop(picture: Pixels, rng: np.random.Generator) -> Pixels:
    """A square part of at least `SMALLEST_AREA`, enlarged to the whole."""
    share = float(np.sqrt(rng.uniform(SMALLEST_AREA, 1.0)))
    for axis in (0, 1):
        picture = _stretched(picture, rng.uniform(0.0, 1.0 - share), share, axis)
    return picture


def _stretched(picture: Pixels, start: float, share: float, axis: int) -> Pixels:
    """A part of an axis, both as shares of its length, stretched to the full length by linear interpolation."""
    length = picture.shape[axis]
    places = np.clip(start * length + share * (np.arange(length) + 0.5) - 0.5, 0, length - 1)
    below = np.floor(places).astype(np.int64)
    weight = (places - below).astype(np.float32).reshape((-1,) + (1,) * (picture.ndim - 1 - axis))
    here, there = (np.take(picture, rows, axis) for rows in (below, np.minimum(below + 1, length - 1)))
    return np.asarray(here + weight * (there - here))


def _brightness(picture: Pixels, rng: np.random.Generator) -> Pixels:
    """All colours times one factor; alpha stays."""
    changed = picture.copy()
    colours = changed[..., :3]
    np.clip(colours * np.float32(1.0 + rng.uniform(-BRIGHTNESS, BRIGHTNESS)), 0, 255, out=colours)
    return changed


_AUGMENTATIONS: dict[str, Callable[[Pixels, np.random.Generator], Pixels]] = {
    "mirror": lambda picture, _: picture[:, ::-1],  # left and right
    "flip": lambda picture, _: picture[::-1],  # top and bottom
    "quarter_turn": _quarter_turn,
    "crop": _crop,
    "brightness": _brightness,
}
CANDIDATES = tuple(_AUGMENTATIONS)
# These move pixels and change none: a copy can be recognised only by what the image shows. A crop or a change of
# brightness loses detail, by which every copy can be recognised.
SYMMETRIES = ("mirror", "flip", "quarter_turn")


def augment(pixels: Pixels, name: str, rng: np.random.Generator) -> Pixels:
    """Change each of several images at random.

    Args:
        pixels: float32 of shape (n, size, size, channels), 0 to 255.
        name: one of `CANDIDATES`.
        rng: source of chance.

    Returns:
        Images of the same shape, type and range.
    """
    return np.stack([_AUGMENTATIONS[name](picture, rng) for picture in pixels])


def augmented_blocks(
    network: Network,
    pictures: Iterable[Prepared],
    names: Sequence[str] = CANDIDATES,
    *,
    seed: int,
    run: Tapped | None = None,
) -> dict[str, dict[str, Pixels]]:
    """Run the network over augmented images.

    Args:
        network: the network.
        pictures: a stream of at least one image; none is kept.
        names: the augmentations, of `CANDIDATES`.
        seed: of the random changes, which do not depend on the other augmentations.
        run: the network compiled by `tapped`, if there is one already.

    Returns:
        For each augmentation and each cut the pooled features, of shape (images, channels), in the stream's order.
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
