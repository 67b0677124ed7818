"""Statistics of the source, one file for each network.

Those of the shipped backbones are made by `benchmarks/make_reference.py`. Those of the user's own networks are made by
`recommend reference` and stored in the user's data directory under the fingerprint of the weights.
"""

import io
import tempfile
import zipfile
from collections.abc import Sequence
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
    """How one network sees images of its source."""

    fingerprint: str  # of the network's weights
    source: str  # empty if it has no name
    layers: tuple[str, ...]  # where drift was measured, from input to output
    sizes: FloatArray  # input sizes in px, ascending
    enlargements: FloatArray  # factors by which images were enlarged, ascending, from 1
    drift: FloatArray  # of shape (sizes, enlargements, layers)
    labels: tuple[str, ...]  # names of the source's classes, if they are known
    embedding_sizes: FloatArray  # input sizes at which embeddings were kept, ascending
    embeddings: npt.NDArray[np.float32]  # of shape (embedding_sizes, images, channels)
    # For each size and layer the mean and standard deviation of each channel, of shape (2, channels); empty for a
    # network with BatchNorm.
    moments: tuple[tuple[FloatArray, ...], ...] = ()
    shipped: bool = False  # with the package; its unit is then 1, and it holds every enlargement

    def floor(self, input_size: int, enlargement: float = 1.0) -> FloatArray:
        """Drift of the source's own images at each layer, of shape (layers,)."""
        return drift_at(self.drift, self.sizes, self.enlargements, input_size, enlargement)

    def source_embeddings(self, input_size: int) -> npt.NDArray[np.float32]:
        """Embeddings of the source's images at the stored input size nearest to the given one."""
        return np.asarray(self.embeddings[int(np.abs(self.embedding_sizes - input_size).argmin())])

    def norms(self, input_size: int) -> tuple[Norm, ...]:
        """Where drift is measured in a network without BatchNorm, with the moments at the nearest size; else empty."""
        if not self.moments:
            return ()
        nearest = self.moments[int(np.abs(self.sizes - input_size).argmin())]
        layers = zip(self.layers, nearest, strict=True)
        return tuple(Norm(layer=layer, centre=centre, scale=scale) for layer, (centre, scale) in layers)

    def fits(self, cuts: Sequence[str], n_norms: int) -> bool:
        """Whether it was made at the same places: the cut points, or as many BatchNorm layers."""
        return list(cuts) == list(self.layers) if self.moments else n_norms == len(self.layers)


def interpolate(at: FloatArray, values: FloatArray, where: float) -> FloatArray:
    """Linear interpolation along the first axis of `values`, constant beyond the ends of `at`."""
    columns = values.reshape(len(at), -1).T
    return np.array([np.interp(where, at, column) for column in columns]).reshape(values.shape[1:])


def drift_at(
    table: FloatArray, sizes: FloatArray, enlargements: FloatArray, input_size: float, enlargement: float
) -> FloatArray:
    """Drift from a table of shape (sizes, enlargements, layers), linear in size and in the logarithm of enlargement."""
    by_size = np.stack([interpolate(np.log(enlargements), rows, float(np.log(enlargement))) for rows in table])
    return interpolate(sizes, by_size, input_size)


def own_directory() -> Path:
    """Folder with the references of the user's own networks."""
    return data_directory() / "references"


def find_reference(fingerprint: str) -> Reference | None:
    """The reference made with these weights: the user's own, else a shipped one, else None."""
    own = own_directory() / f"{fingerprint}.npz"
    if not own.is_file():
        return next((load_reference(name) for name in _SHIPPED if _fingerprint(name) == fingerprint), None)
    try:
        return _load(own.read_bytes())
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ProbeError(
            f"Expected {str(own)!r} to be a reference. Received: {str(error)[:100]}. Remove it, or make it again with "
            "`recommend reference`."
        ) from error


@cache
def _fingerprint(name: str) -> str:
    with (resources.files(__name__) / f"{name}.npz").open("rb") as stream, np.load(stream) as stored:
        return str(stored["fingerprint"])


@cache
def load_reference(backbone: str) -> Reference:
    """The shipped reference of a backbone."""
    return replace(_load((resources.files(__name__) / f"{backbone}.npz").read_bytes()), shipped=True)


def _load(content: bytes) -> Reference:
    with np.load(io.BytesIO(content), allow_pickle=False) as stored:
        floats = {name: stored[name].astype(np.float64) for name in ("sizes", "enlargements", "drift")}
        layers = tuple(stored["layers"].tolist())
        of_size = range(len(floats["sizes"])) if "moments_0_0" in stored else ()
        moments = [[stored[f"moments_{size}_{layer}"] for layer in range(len(layers))] for size in of_size]
        return Reference(
            fingerprint=str(stored["fingerprint"]),
            source=str(stored["source"]),
            layers=layers,
            **floats,
            labels=tuple(stored["labels"].tolist()),
            embedding_sizes=stored["embedding_sizes"].astype(np.float64),
            embeddings=stored["embeddings"].astype(np.float32) * float(stored["embedding_step"]),
            moments=tuple(tuple(part.astype(np.float64) for part in parts) for parts in moments),
        )


def save_reference(reference: Reference) -> Path:
    """Write a reference of the user's own network, completely or not at all, and return its path."""
    target = own_directory() / f"{reference.fingerprint}.npz"
    names = ("fingerprint", "source", "layers", "sizes", "enlargements", "embedding_sizes")
    arrays = {name: np.array(getattr(reference, name)) for name in names}
    arrays["labels"] = np.array(reference.labels, np.str_)
    arrays["drift"] = reference.drift.astype(np.float32)
    arrays["embedding_step"] = np.array(1.0)
    arrays["embeddings"] = reference.embeddings.astype(np.float16)
    for size, layers in enumerate(reference.moments):
        arrays |= {f"moments_{size}_{layer}": part.astype(np.float32) for layer, part in enumerate(layers)}
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".") as folder:
            written = Path(folder, target.name)
            np.savez_compressed(written, allow_pickle=False, **arrays)
            written.replace(target)
    except OSError as error:
        raise ProbeError(
            f"Expected to write {str(target)!r}. Received: {error.strerror or error}. Name another place in the "
            "variable NETGRAFT_DATA."
        ) from error
    return target
