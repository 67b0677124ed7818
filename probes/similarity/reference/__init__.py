"""Statistics of the source, one file a network.

Those of the shipped backbones are made by `benchmarks/make_reference.py`; those of the user's own networks by
`recommend reference`, and lie in the user's data directory under the fingerprint of the weights.
"""

import io
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from pathlib import Path

import numpy as np
import numpy.typing as npt

from probes.errors import ProbeError
from probes.network.features import Norm
from probes.user_directory import data_directory

FloatArray = npt.NDArray[np.float64]
_SHIPPED = ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Reference:
    """How pictures of the source look to one network.

    Attributes:
        fingerprint: of the weights that it was made with.
        source: the name of the source; empty where it has none.
        layers: where drift was measured, from input to output.
        sizes: input sizes in px that were measured, ascending.
        enlargements: how many times pictures were enlarged, ascending; 1 means at least at their own size.
        drift: of shape (sizes, enlargements, layers).
        labels: names of the source's classes; empty where they are not known.
        embedding_sizes: input sizes at which embeddings were kept, ascending.
        embeddings: of shape (embedding_sizes, pictures, channels).
        moments: for each size and layer the mean and standard deviation of each channel, of shape (2, channels), for a
            network without BatchNorm; empty for one with it.
        shipped: whether it came with the package; then every enlargement was measured, and its unit is 1.
    """

    fingerprint: str
    source: str
    layers: tuple[str, ...]
    sizes: FloatArray
    enlargements: FloatArray
    drift: FloatArray
    labels: tuple[str, ...]
    embedding_sizes: FloatArray
    embeddings: npt.NDArray[np.float32]
    moments: tuple[tuple[FloatArray, ...], ...] = ()
    shipped: bool = False

    def floor(self, input_size: int, enlargement: float = 1.0) -> FloatArray:
        """Drift of the source's own pictures at each layer, of shape (layers,).

        Linear in the input size and in the logarithm of the enlargement; the ends hold beyond the ends.
        """
        by_size = np.stack([_interpolate(np.log(self.enlargements), part, np.log(enlargement)) for part in self.drift])
        return _interpolate(self.sizes, by_size, input_size)

    def source_embeddings(self, input_size: int) -> npt.NDArray[np.float32]:
        """Embeddings of the source's pictures at the kept input size nearest to the given one."""
        nearest = int(np.abs(self.embedding_sizes - input_size).argmin())
        return np.asarray(self.embeddings[nearest])

    def norms(self, input_size: int) -> tuple[Norm, ...]:
        """Where drift is measured in a network without BatchNorm: the moments at the nearest size."""
        if not self.moments:
            return ()
        nearest = self.moments[int(np.abs(self.sizes - input_size).argmin())]
        return tuple(
            Norm(layer=layer, centre=centre, scale=scale)
            for layer, (centre, scale) in zip(self.layers, nearest, strict=True)
        )


def _interpolate(at: FloatArray, values: FloatArray, where: float) -> FloatArray:
    """Linear interpolation along the first axis, constant beyond the ends."""
    where = float(np.clip(where, at[0], at[-1]))
    upper = int(np.clip(np.searchsorted(at, where), 1, len(at) - 1)) if len(at) > 1 else 0
    if upper == 0:
        return np.asarray(values[0])
    share = (where - at[upper - 1]) / (at[upper] - at[upper - 1])
    return np.asarray(values[upper - 1] * (1 - share) + values[upper] * share)


def own_directory() -> Path:
    """Where references of the user's own networks lie."""
    return data_directory() / "references"


def find_reference(fingerprint: str) -> Reference | None:
    """The reference made with these weights: the user's own, else a shipped one, else None.

    Raises:
        ProbeError: the user's own can't be read.
    """
    own = own_directory() / f"{fingerprint}.npz"
    if own.is_file():
        try:
            return _load(own.read_bytes())
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise ProbeError(
                f"Expected {str(own)!r} to be a reference. Received: {str(error)[:100]}. Remove it, or make it anew "
                "with `recommend reference`."
            ) from error
    return next((load_reference(name) for name in _SHIPPED if _fingerprint(name) == fingerprint), None)


@cache
def _fingerprint(name: str) -> str:
    with (resources.files(__name__) / f"{name}.npz").open("rb") as stream, np.load(stream) as stored:
        return str(stored["fingerprint"])


@cache
def load_reference(backbone: str) -> Reference:
    """The shipped reference of a backbone.

    Raises:
        ProbeError: none ships for it.
    """
    file = resources.files(__name__) / f"{backbone}.npz"
    if backbone not in _SHIPPED:
        raise ProbeError(f"Expected reference statistics for {backbone}. Received: none; use another backbone.")
    return replace(_load(file.read_bytes()), shipped=True)


def _load(content: bytes) -> Reference:
    with np.load(io.BytesIO(content), allow_pickle=False) as stored:
        layers = tuple(str(name) for name in stored["layers"])
        sizes = stored["sizes"].astype(np.float64)
        return Reference(
            fingerprint=str(stored["fingerprint"]),
            source=str(stored["source"]),
            layers=layers,
            sizes=sizes,
            enlargements=stored["enlargements"].astype(np.float64),
            drift=stored["drift"].astype(np.float64),
            labels=tuple(str(label) for label in stored["labels"]),
            embedding_sizes=stored["embedding_sizes"].astype(np.float64),
            embeddings=stored["embeddings"].astype(np.float32) * float(stored["embedding_step"]),
            moments=tuple(_moments(stored, index, layers) for index in range(len(sizes)))
            if "moments_0_0" in stored
            else (),
        )


def _moments(stored: np.lib.npyio.NpzFile, index: int, layers: tuple[str, ...]) -> tuple[FloatArray, ...]:
    return tuple(stored[f"moments_{index}_{layer}"].astype(np.float64) for layer in range(len(layers)))


def save_reference(reference: Reference) -> Path:
    """Write a reference of the user's own, whole or not at all; returns where.

    Raises:
        ProbeError: the directory can't be written.
    """
    target = own_directory() / f"{reference.fingerprint}.npz"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=target.parent, suffix=".part", delete=False) as stream:
            try:
                np.savez_compressed(stream, allow_pickle=False, **dict(_arrays(reference)))
                stream.flush()
                Path(stream.name).replace(target)
            finally:
                Path(stream.name).unlink(missing_ok=True)
    except OSError as error:
        raise ProbeError(
            f"Expected to write {str(target)!r}. Received: {error.strerror or error}. Name another place in the "
            "variable NETGRAFT_DATA."
        ) from error
    return target


def _arrays(reference: Reference) -> Iterator[tuple[str, npt.NDArray[np.generic]]]:
    yield "fingerprint", np.array(reference.fingerprint)
    yield "source", np.array(reference.source)
    yield "layers", np.array(reference.layers)
    yield "sizes", reference.sizes
    yield "enlargements", reference.enlargements
    yield "drift", reference.drift.astype(np.float32)
    yield "labels", np.array(reference.labels, np.str_)
    yield "embedding_sizes", reference.embedding_sizes
    yield "embedding_step", np.array(1.0)
    yield "embeddings", reference.embeddings.astype(np.float16)
    for index, layers in enumerate(reference.moments):
        for layer, moments in enumerate(layers):
            yield f"moments_{index}_{layer}", moments.astype(np.float32)
