"""One pass of a network over a sample of images, from which every probe reads."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from probes.dataset import Draw, ImageFolder
from probes.images import Picture, UnreadableImage, in_order, quiet_decoders, read_picture, read_size, resize

BATCH_SIZE = 16  # as fast as 32 on a CPU, in half the memory
_SWITCHED_OFF = 1e-3  # of the layer's largest |gamma|: below it a channel passes nothing on and its input is noise

FloatArray = npt.NDArray[np.float32]
Progress = Callable[[int, int], None]
Tapped = Callable[[Any], list[Any]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Norm:
    """A place where drift is measured: a tensor y = scale z + centre whose z the source made standard normal.

    Attributes:
        layer: its name: that of a BatchNorm layer, or of a cut point whose moments on the source are known.
        centre: of each channel, of shape (channels,): beta of BatchNorm, or the source's mean.
        scale: gamma of BatchNorm, or the source's standard deviation.
    """

    layer: str
    centre: npt.NDArray[np.float64]
    scale: npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Network:
    """A pretrained network as the probes see it.

    Attributes:
        forward: from pixels 0..255, a tensor of shape (batch, input_size, input_size, channels), to the tensors at the
            cuts, then those at the norms, then what the network itself puts out, of shape (batch, source classes).
        input_size: height and width of its input in px.
        channels: 1 grey, 3 RGB, 4 RGB with alpha.
        cuts: names of the tensors that are pooled, from input to output.
        norms: where drift is measured, from input to output.
    """

    forward: Callable[[Any], Sequence[Any]]
    input_size: int
    channels: int
    cuts: tuple[str, ...]
    norms: tuple[Norm, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """What the pass brought, one row an image in the order of `files`.

    Attributes:
        files: paths relative to the folder.
        labels: class numbers, of shape (n,).
        sizes: native (width, height) in px, of shape (n, 2).
        grey: whether a picture has no colour, of shape (n,).
        pooled: for each cut the global average, of shape (n, channels).
        norm_means: for each norm the mean of its standardised tensor, of shape (n, channels).
        norm_squares: the same of its square.
        output: what the network itself puts out, of shape (n, source classes) where it is a classifier.
        unreadable: files that could not be read, with the reason.
    """

    files: tuple[str, ...]
    labels: npt.NDArray[np.int64]
    sizes: npt.NDArray[np.int64]
    grey: npt.NDArray[np.bool_]
    pooled: dict[str, FloatArray]
    norm_means: dict[str, FloatArray]
    norm_squares: dict[str, FloatArray]
    output: FloatArray
    unreadable: Mapping[str, str]


def median_short_side(folder: ImageFolder, draw: Draw) -> float | None:
    """Median of the shorter side in px over the sample, read from file headers; None where no header can be read."""
    sides = []
    with quiet_decoders():
        for wanted, candidates in zip(draw.quota, draw.candidates, strict=True):
            for name in candidates[:wanted]:
                try:
                    sides.append(min(read_size(folder.path / name)))
                except UnreadableImage:
                    continue
    return float(np.median(sides)) if sides else None


def tapped(network: Network) -> Tapped:
    """Compile the network, with its weights as constants, into one function that puts out all that is measured.

    Constant weights let TensorFlow fold each BatchNorm into its convolution. XLA stays off: on a CPU it makes a
    depthwise network ten times slower.

    Args:
        network: the network; it is unchanged.

    Returns:
        A function from pixels 0..255 of shape (batch, size, size, channels) to a flat list: a pooled tensor for each
        cut, a mean and a mean square of each norm, and the network's own output.
    """
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    def over_positions(x: Any) -> Any:
        return tf.reduce_mean(x, tuple(range(1, x.shape.rank - 1))) if x.shape.rank > 2 else x

    def forward(pixels: Any) -> list[Any]:
        outputs = list(network.forward(pixels))
        pooled = [over_positions(x) for x in outputs[: len(network.cuts)]]
        moments = [over_positions(power) for x in outputs[len(network.cuts) : -1] for power in (x, x * x)]
        return [*pooled, *moments, over_positions(outputs[-1])]

    shape = (None, network.input_size, network.input_size, network.channels)
    function = tf.function(forward, input_signature=[tf.TensorSpec(shape, tf.float32)], jit_compile=False)
    frozen = convert_variables_to_constants_v2(function.get_concrete_function(), lower_control_flow=False)
    return lambda pixels: frozen(tf.convert_to_tensor(pixels, tf.float32))


def standardise(norm: Norm, mean: Any, square: Any) -> tuple[FloatArray, FloatArray]:
    """Turn moments of y = scale z + centre into those of z.

    Args:
        norm: of y.
        mean: mean of y, of shape (n, channels).
        square: mean of y squared, of the same shape.

    Returns:
        The mean of z and of z squared, of shape (n, channels passed on): channels that are switched off are left out.
    """
    mean, square = np.asarray(mean, np.float64), np.asarray(square, np.float64)
    kept = np.abs(norm.scale) > _SWITCHED_OFF * np.abs(norm.scale).max()
    mean, square, centre, scale = mean[:, kept], square[:, kept], norm.centre[kept], norm.scale[kept]
    with np.errstate(all="ignore"):  # half precision may overflow; whoever reads the result looks for that
        z_mean = ((mean - centre) / scale).astype(np.float32)
        z_square = ((square - 2 * centre * mean + centre**2) / scale**2).astype(np.float32)
    return z_mean, z_square


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A picture as the network is to see it.

    Attributes:
        pixels: float32 of shape (input_size, input_size, channels), 0 to 255.
        label: its class number.
        file: where it came from.
        size: native (width, height) in px.
        grey: whether it has no colour.
    """

    pixels: FloatArray
    label: int
    file: str
    size: tuple[int, int]
    grey: bool


def readable(
    folder: ImageFolder, draw: Draw, size: int, channels: int, unreadable: dict[str, str]
) -> Iterator[Prepared]:
    """Decoded pictures of a sample; one that can't be read is noted and the class's next candidate takes its place."""

    def read(item: tuple[int, str]) -> tuple[int, str, Picture | None, Any]:
        label, name = item
        try:
            picture = read_picture(folder.path / name, channels)
        except UnreadableImage as error:
            return label, name, None, str(error)
        return label, name, picture, resize(picture.pixels, size).numpy()

    following = list(draw.quota)
    todo = [(label, name) for label, names in enumerate(draw.candidates) for name in names[: draw.quota[label]]]
    workers = min(8, os.cpu_count() or 1)
    while todo:
        failed = []
        for label, name, picture, result in in_order(read, todo, workers=workers, ahead=2 * BATCH_SIZE):
            if picture is None:
                unreadable[name] = result
                failed.append(label)
            else:
                yield Prepared(file=name, label=label, size=picture.size, grey=picture.grey, pixels=result)
        todo = []
        for label in failed:
            if following[label] < len(draw.candidates[label]):
                todo.append((label, draw.candidates[label][following[label]]))
                following[label] += 1


def _batches(items: Iterable[Prepared]) -> Iterator[list[Prepared]]:
    batch: list[Prepared] = []
    for item in items:
        batch.append(item)
        if len(batch) == BATCH_SIZE:
            yield batch
            batch = []
    if batch:
        yield batch


def extract(
    folder: ImageFolder, draw: Draw, network: Network, progress: Progress | None = None, run: Tapped | None = None
) -> Features:
    """Run the network once over each image of a sample, decoding the next ones meanwhile.

    Args:
        folder: the index.
        draw: which of its files to read.
        network: the network and where to look into it.
        progress: called with the number of images done and wanted.
        run: the network compiled by `tapped`, if it is at hand.

    Returns:
        Everything the probes need; no picture is kept.
    """
    unreadable: dict[str, str] = {}
    wanted = sum(draw.quota)
    with quiet_decoders():
        pictures = readable(folder, draw, network.input_size, network.channels, unreadable)
        told = (lambda done: progress(done, wanted)) if progress else None
        return run_over(network, pictures, unreadable, told, run)


def run_over(
    network: Network,
    pictures: Iterable[Prepared],
    unreadable: Mapping[str, str] | None = None,
    progress: Callable[[int], None] | None = None,
    run: Tapped | None = None,
) -> Features:
    """Run the network once over prepared pictures.

    Args:
        network: the network and where to look into it.
        pictures: a stream; no picture is kept.
        unreadable: what the stream notes of files that it could not read.
        progress: called with the number of pictures done.
        run: the network compiled by `tapped`, if it is at hand.

    Returns:
        Everything the probes need.
    """
    run = run or tapped(network)
    facts: list[Prepared] = []
    outputs: list[list[Any]] = []
    for batch in _batches(pictures):
        outputs.append([x.numpy() for x in run(np.stack([item.pixels for item in batch]))])
        facts.extend(replace(item, pixels=np.empty(0, np.float32)) for item in batch)
        if progress:
            progress(len(facts))
    return _gather(network, facts, outputs, unreadable or {})


def _gather(
    network: Network, facts: Sequence[Prepared], outputs: Sequence[Sequence[Any]], unreadable: Mapping[str, str]
) -> Features:
    joined = [np.concatenate(parts) for parts in zip(*outputs, strict=True)]
    n_cuts = len(network.cuts)
    means, squares = {}, {}
    for index, norm in enumerate(network.norms if joined else ()):
        moments = joined[n_cuts + 2 * index : n_cuts + 2 * index + 2]
        means[norm.layer], squares[norm.layer] = standardise(norm, *moments)
    return Features(
        files=tuple(item.file for item in facts),
        labels=np.array([item.label for item in facts], np.int64),
        sizes=np.array([item.size for item in facts], np.int64).reshape(-1, 2),
        grey=np.array([item.grey for item in facts], bool),
        pooled=dict(zip(network.cuts, joined, strict=False)),
        norm_means=means,
        norm_squares=squares,
        output=joined[-1] if joined else np.empty((0, 0), np.float32),
        unreadable=unreadable,
    )
