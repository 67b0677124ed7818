"""Changes of a picture that training may make, and features of pictures so changed. TensorFlow only inside."""

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from probes.images.prepare import Prepared
from probes.network.features import BATCH_SIZE, Network, Tapped, tapped

SMALLEST_AREA = 0.7  # share of a picture's area that a crop keeps at least; what training crops
BRIGHTNESS = 0.2  # by which a picture may be made brighter or darker, as a share

Pixels = npt.NDArray[np.float32]


def _mirror(picture: Pixels, rng: np.random.Generator) -> Pixels:  # noqa: ARG001
    """Left and right change places."""
    return picture[:, ::-1]


def _flip(picture: Pixels, rng: np.random.Generator) -> Pixels:  # noqa: ARG001
    """Top and bottom change places."""
    return picture[::-1]


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
    """A part of an axis, both as shares of its length, brought to the full length by linear interpolation."""
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
    "mirror": _mirror,
    "flip": _flip,
    "quarter_turn": _quarter_turn,
    "crop": _crop,
    "brightness": _brightness,
}
CANDIDATES = tuple(_AUGMENTATIONS)
# These move pixels and change none: if the copy can be told, then by what is shown. A crop or a change of brightness
# loses detail, and is told by that.
SYMMETRIES = ("mirror", "flip", "quarter_turn")


def augment(pixels: Pixels, name: str, rng: np.random.Generator) -> Pixels:
    """Change pictures, each in its own way.

    Args:
        pixels: float32 of shape (n, size, size, channels), 0 to 255.
        name: one of `CANDIDATES`.
        rng: what is left to chance.

    Returns:
        Pictures of the same shape, type and range.
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
    """Run the network over augmented pictures.

    Args:
        network: the network.
        pictures: a stream, at least one; no picture is kept.
        names: the augmentations, of `CANDIDATES`.
        seed: of what is left to chance.
        run: the network compiled by `tapped`, if it is at hand.

    Returns:
        For each augmentation and each cut the pooled features, of shape (pictures, channels), in the stream's order.
    """
    run = run or tapped(network)
    chance = {name: np.random.default_rng([seed, CANDIDATES.index(name)]) for name in names}
    outputs: dict[str, list[list[Pixels]]] = {name: [] for name in names}
    for batch in _batches(pictures):
        for name in names:
            pooled = run(augment(batch, name, chance[name]))[: len(network.cuts)]
            outputs[name].append([block.numpy() for block in pooled])
    return {
        name: dict(zip(network.cuts, (np.concatenate(parts) for parts in zip(*done, strict=True)), strict=True))
        for name, done in outputs.items()
    }


def _batches(pictures: Iterable[Prepared]) -> Iterator[Pixels]:
    batch: list[Pixels] = []
    for picture in pictures:
        batch.append(picture.pixels)
        if len(batch) == BATCH_SIZE:
            yield np.stack(batch)
            batch = []
    if batch:
        yield np.stack(batch)
