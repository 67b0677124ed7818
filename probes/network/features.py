"""One pass of a network over a sample of images. Every probe reads the rows that it returns."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from probes.data.image_index import ImageIndex
from probes.data.sampling import Sample
from probes.images.decode import in_order, quiet_decoders
from probes.images.image_facts import PictureFacts
from probes.images.prepare import Prepared, Reader, Skipped, readable_sample
from probes.network.readout import FloatArray, Run

BATCH_SIZE = 16  # as fast as 32 on a CPU, in half the memory
_DEAD = 1e-3  # of the layer's largest |scale|: a channel below it carries no signal and its input is noise

Progress = Callable[[int, int], None]
Item = TypeVar("Item")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Norm:
    """A place where drift is measured: a tensor y = scale z + centre with z standard normal on the source."""

    layer: str  # a BatchNorm layer, or a cut point whose moments on the source are known
    centre: npt.NDArray[np.float64]  # of shape (channels,): beta of BatchNorm, or the source's mean
    scale: npt.NDArray[np.float64]  # gamma of BatchNorm, or the source's standard deviation


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Network:
    """A pretrained network as the probes see it.

    `run` goes from pixels 0..255 of shape (batch, input_size, input_size, channels) to a list of arrays: for each cut
    the mean over positions of its tensor, of shape (batch, channels); for each norm the mean and the mean square of its
    tensor less the centre; then the network's own output, of shape (batch, source classes).
    """

    run: Run
    engine: str  # that runs it: "litert" or "tensorflow"
    input_size: int
    channels: int  # 1 grey, 3 RGB, 4 RGB with alpha
    cuts: tuple[str, ...]  # from input to output, as are the norms
    norms: tuple[Norm, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """What one pass read, one row for each image."""

    files: tuple[str, ...]  # names in the index
    labels: npt.NDArray[np.int64]
    validation: npt.NDArray[np.bool_]  # whether the image is of the user's validation split
    sizes: npt.NDArray[np.int64]  # native (width, height) in px, of shape (n, 2)
    grey: npt.NDArray[np.bool_]
    facts: tuple[PictureFacts, ...]  # empty where the images came from no index
    pooled: dict[str, FloatArray]  # for each cut the global average, of shape (n, channels)
    norm_means: dict[str, FloatArray]  # for each norm the mean of its standardised tensor over positions
    norm_squares: dict[str, FloatArray]  # the same for the square of that tensor
    output: FloatArray  # the network's own, of shape (n, source classes) if it is a classifier
    skipped: Skipped

    def blocks(self, levels: Sequence[str]) -> list[FloatArray]:
        """What a head that reads these cut points reads: pooled features, of shape (n, channels) each."""
        return [self.pooled[level] for level in levels]

    def rows(self, order: npt.NDArray[Any]) -> "Features":
        """The rows with these numbers, or where this mask is True, in that order."""
        numbers = np.arange(len(self.files))[order]
        facts = tuple(self.facts[row] for row in numbers) if self.facts else ()
        arrays = _arrays([self], lambda arrays: arrays[0][numbers])
        return replace(self, files=tuple(self.files[row] for row in numbers), facts=facts, **arrays)


def _arrays(parts: Sequence[Features], change: Callable[[list[Any]], Any]) -> dict[str, Any]:
    """All arrays of a pass, each made from those of one or more passes of the same network."""
    changed: dict[str, Any] = {
        name: change([getattr(part, name) for part in parts])
        for name in ("labels", "validation", "sizes", "grey", "output")
    }
    for name in ("pooled", "norm_means", "norm_squares"):
        layers = getattr(parts[0], name)
        changed[name] = {layer: change([getattr(part, name)[layer] for part in parts]) for layer in layers}
    return changed


def in_one(parts: Sequence[Features]) -> Features:
    """The rows of several passes of one network, one after the other."""
    read = [part for part in parts if part.files] or parts[:1]  # without a row nothing is known of the outputs
    skipped = Skipped(
        failures=[each for part in parts for each in part.skipped.failures],
        copies=[each for part in parts for each in part.skipped.copies],
    )
    files = tuple(file for part in read for file in part.files)
    facts = tuple(each for part in read for each in part.facts)
    return replace(read[0], files=files, facts=facts, skipped=skipped, **_arrays(read, np.concatenate))


def features_of(
    kept: Sequence[Prepared],
    skipped: Skipped,
    *,
    pooled: dict[str, FloatArray],
    norm_means: dict[str, FloatArray] | None = None,
    norm_squares: dict[str, FloatArray] | None = None,
    output: FloatArray | None = None,
) -> Features:
    """One row for each image, in the order given."""
    return Features(
        files=tuple(item.file for item in kept),
        labels=np.array([item.label for item in kept], np.int64),
        validation=np.array([item.validation for item in kept], bool),
        sizes=np.array([item.size for item in kept], np.int64).reshape(-1, 2),
        grey=np.array([item.grey for item in kept], bool),
        facts=tuple(item.facts for item in kept if item.facts is not None),
        pooled=pooled,
        norm_means=norm_means or {},
        norm_squares=norm_squares or {},
        output=np.empty((len(kept), 0), np.float32) if output is None else output,
        skipped=skipped,
    )


def standardise(norm: Norm, mean: npt.ArrayLike, square: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Means of z and z squared from those of y - centre = scale z, of shape (n, channels), without dead channels."""
    live = np.abs(norm.scale) > _DEAD * np.abs(norm.scale).max()
    mean, square = np.asarray(mean, np.float64)[:, live], np.asarray(square, np.float64)[:, live]
    with np.errstate(all="ignore"):  # half precision may overflow; callers check that the result is finite
        return (mean / norm.scale[live]).astype(np.float32), (square / norm.scale[live] ** 2).astype(np.float32)


def about(centre: npt.NDArray[np.float64], mean: FloatArray, square: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Mean and mean square of y - centre from those of y, of shape (n, channels)."""
    exact = np.asarray(mean, np.float64)
    with np.errstate(all="ignore"):
        return (exact - centre).astype(np.float32), (square - 2 * centre * exact + centre**2).astype(np.float32)


def batches(items: Iterable[Item]) -> Iterator[list[Item]]:
    """Lists of `BATCH_SIZE` items; the last may be shorter."""
    stream = iter(items)
    return iter(lambda: list(islice(stream, BATCH_SIZE)), [])


def extract(
    index: ImageIndex,
    sample: Sample,
    network: Network,
    progress: Progress | None = None,
    reader: Reader | None = None,
) -> Features:
    """Run the network once over each image of a sample, while the next images are decoded; no image is kept.

    The order of the rows depends on the content of the images alone. A `reader` may run the network elsewhere.
    """
    skipped = Skipped()
    pictures = readable_sample(index, sample, network.input_size, network.channels, skipped, reader)
    report = (lambda done: progress(done, sample.n_wanted)) if progress else None
    with quiet_decoders():
        found = run_over(network, pictures, skipped, report)
    return found.rows(content_order(found))


def content_order(features: Features) -> npt.NDArray[np.int64]:
    """Rows in an order that depends on the content of the images alone, of shape (n,)."""
    keys = [(facts.digest, label) for facts, label in zip(features.facts, features.labels, strict=True)]
    return np.array(sorted(range(len(keys)), key=keys.__getitem__), np.int64)


def run_over(
    network: Network,
    pictures: Iterable[Prepared],
    skipped: Skipped | None = None,
    progress: Callable[[int], None] | None = None,
) -> Features:
    """Run the network once over a stream of prepared images, which may fill `skipped`; rows keep their order."""
    kept: list[Prepared] = []
    outputs: list[list[FloatArray]] = []

    def run(batch: list[Prepared]) -> tuple[list[Prepared], list[FloatArray]]:
        if batch[0].outputs:
            found = [np.stack(rows) for rows in zip(*(item.outputs for item in batch), strict=True)]
            return [replace(item, outputs=()) for item in batch], found
        found = network.run(np.stack([item.pixels for item in batch]))
        return [replace(item, pixels=np.empty(0, np.float32)) for item in batch], found

    for items, found in in_order(run, batches(pictures), workers=2, ahead=1):  # no core waits for the end of a batch
        outputs.append(found)
        kept.extend(items)
        if progress:
            progress(len(kept))
    joined = [np.concatenate(parts) for parts in zip(*outputs, strict=True)]
    moments = joined[len(network.cuts) : -1]
    z = {n.layer: standardise(n, *pair) for n, *pair in zip(network.norms, moments[::2], moments[1::2], strict=False)}
    return features_of(
        kept,
        skipped or Skipped(),
        pooled=dict(zip(network.cuts, joined, strict=False)),
        norm_means={layer: mean for layer, (mean, _) in z.items()},
        norm_squares={layer: square for layer, (_, square) in z.items()},
        output=joined[-1] if joined else None,
    )
