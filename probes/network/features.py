"""One pass of a network over a sample of images, from which every probe reads."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from probes.data.image_index import ImageIndex
from probes.data.sampling import Sample
from probes.images.decode import quiet_decoders
from probes.images.image_facts import PictureFacts
from probes.images.prepare import Prepared, Skipped, readable

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
        files: their names in the index.
        labels: class numbers, of shape (n,).
        validation: whether an image is of the user's validation split, of shape (n,).
        sizes: native (width, height) in px, of shape (n, 2).
        grey: whether a picture has no colour, of shape (n,).
        facts: of each picture; empty where the pictures came from no index.
        pooled: for each cut the global average, of shape (n, channels).
        norm_means: for each norm the mean of its standardised tensor, of shape (n, channels).
        norm_squares: the same of its square.
        output: what the network itself puts out, of shape (n, source classes) where it is a classifier.
        skipped: images that were not measured.
    """

    files: tuple[str, ...]
    labels: npt.NDArray[np.int64]
    validation: npt.NDArray[np.bool_]
    sizes: npt.NDArray[np.int64]
    grey: npt.NDArray[np.bool_]
    facts: tuple[PictureFacts, ...]
    pooled: dict[str, FloatArray]
    norm_means: dict[str, FloatArray]
    norm_squares: dict[str, FloatArray]
    output: FloatArray
    skipped: Skipped

    def rows(self, order: npt.NDArray[Any]) -> "Features":
        """Some rows, by their numbers or a mask, in that order."""
        numbers = np.arange(len(self.files))[order]

        def taken(parts: dict[str, FloatArray]) -> dict[str, FloatArray]:
            return {name: part[numbers] for name, part in parts.items()}

        return replace(
            self,
            files=tuple(self.files[row] for row in numbers),
            labels=self.labels[numbers],
            validation=self.validation[numbers],
            sizes=self.sizes[numbers],
            grey=self.grey[numbers],
            facts=tuple(self.facts[row] for row in numbers) if self.facts else (),
            pooled=taken(self.pooled),
            norm_means=taken(self.norm_means),
            norm_squares=taken(self.norm_squares),
            output=self.output[numbers],
        )


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

    def over_positions(x: Any) -> Any:
        return tf.reduce_mean(x, tuple(range(1, x.shape.rank - 1))) if x.shape.rank > 2 else x

    def forward(pixels: Any) -> list[Any]:
        outputs = list(network.forward(pixels))
        pooled = [over_positions(x) for x in outputs[: len(network.cuts)]]
        moments = [over_positions(power) for x in outputs[len(network.cuts) : -1] for power in (x, x * x)]
        return [*pooled, *moments, over_positions(outputs[-1])]

    return with_constant_weights(forward, (network.input_size, network.input_size, network.channels))


def with_constant_weights(forward: Callable[[Any], list[Any]], shape: Sequence[int]) -> Tapped:
    """Compile a function of a batch of inputs of that shape, the weights that it reads as constants."""
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    signature = [tf.TensorSpec((None, *shape), tf.float32)]
    function = tf.function(forward, input_signature=signature, jit_compile=False)
    frozen = convert_variables_to_constants_v2(function.get_concrete_function(), lower_control_flow=False)
    return lambda inputs: frozen(tf.convert_to_tensor(inputs, tf.float32))


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


def batches(items: Iterable[Prepared]) -> Iterator[list[Prepared]]:
    """Lists of `BATCH_SIZE` pictures; the last may be shorter."""
    batch: list[Prepared] = []
    for item in items:
        batch.append(item)
        if len(batch) == BATCH_SIZE:
            yield batch
            batch = []
    if batch:
        yield batch


def extract(
    index: ImageIndex, sample: Sample, network: Network, progress: Progress | None = None, run: Tapped | None = None
) -> Features:
    """Run the network once over each image of a sample, decoding the next ones meanwhile.

    Args:
        index: the images.
        sample: which of them to read.
        network: the network and where to look into it.
        progress: called with the number of images done and wanted.
        run: the network compiled by `tapped`, if it is at hand.

    Returns:
        Everything the probes need, in an order that depends on the pictures' content alone; no picture is kept.
    """
    skipped = Skipped()

    def pictures() -> Iterator[Prepared]:
        for draw, validation in ((sample.train, False), (sample.validation, True)):
            yield from readable(index, draw, network.input_size, network.channels, skipped, validation=validation)

    told = (lambda done: progress(done, sample.n_wanted)) if progress else None
    with quiet_decoders():
        found = run_over(network, pictures(), skipped, told, run)
    order = sorted(range(len(found.files)), key=lambda row: (found.facts[row].digest, found.labels[row]))
    return found.rows(np.array(order, int))


def run_over(
    network: Network,
    pictures: Iterable[Prepared],
    skipped: Skipped | None = None,
    progress: Callable[[int], None] | None = None,
    run: Tapped | None = None,
) -> Features:
    """Run the network once over prepared pictures.

    Args:
        network: the network and where to look into it.
        pictures: a stream; no picture is kept.
        skipped: what the stream notes of images that it did not give.
        progress: called with the number of pictures done.
        run: the network compiled by `tapped`, if it is at hand.

    Returns:
        Everything the probes need, in the order of the stream.
    """
    run = run or tapped(network)
    kept: list[Prepared] = []
    outputs: list[list[Any]] = []
    for batch in batches(pictures):
        outputs.append([x.numpy() for x in run(np.stack([item.pixels for item in batch]))])
        kept.extend(replace(item, pixels=np.empty(0, np.float32)) for item in batch)
        if progress:
            progress(len(kept))
    return _gather(network, kept, outputs, skipped or Skipped())


def _gather(network: Network, kept: Sequence[Prepared], outputs: Sequence[Sequence[Any]], skipped: Skipped) -> Features:
    joined = [np.concatenate(parts) for parts in zip(*outputs, strict=True)]
    n_cuts = len(network.cuts)
    means, squares = {}, {}
    for index, norm in enumerate(network.norms if joined else ()):
        moments = joined[n_cuts + 2 * index : n_cuts + 2 * index + 2]
        means[norm.layer], squares[norm.layer] = standardise(norm, *moments)
    return features_of(
        kept,
        skipped,
        pooled=dict(zip(network.cuts, joined, strict=False)),
        norm_means=means,
        norm_squares=squares,
        output=joined[-1] if joined else None,
    )


def features_of(
    kept: Sequence[Prepared],
    skipped: Skipped,
    *,
    pooled: dict[str, FloatArray],
    norm_means: dict[str, FloatArray] | None = None,
    norm_squares: dict[str, FloatArray] | None = None,
    output: FloatArray | None = None,
) -> Features:
    """What is known of pictures, a row each in their order; arguments as the attributes of `Features`."""
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
