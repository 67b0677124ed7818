"""Statistics of the source, one file a backbone; `benchmarks/make_reference.py` repeats them."""

from dataclasses import dataclass
from functools import cache
from importlib import resources

import numpy as np
import numpy.typing as npt

from probes.errors import ProbeError

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Reference:
    """How pictures of the source look to one backbone.

    Attributes:
        weights: the SHA-256 digest of the weights that it was made with.
        layers: BatchNorm layers, from input to output.
        sizes: input sizes in px that were measured, ascending.
        enlargements: how many times pictures were enlarged, ascending; 1 means at least at their own size.
        drift: of shape (sizes, enlargements, layers).
        labels: names of the source's classes.
        embedding_sizes: input sizes at which embeddings were kept, ascending.
        embeddings: of shape (embedding_sizes, pictures, channels).
    """

    weights: str
    layers: tuple[str, ...]
    sizes: FloatArray
    enlargements: FloatArray
    drift: FloatArray
    labels: tuple[str, ...]
    embedding_sizes: FloatArray
    embeddings: npt.NDArray[np.float32]

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


def _interpolate(at: FloatArray, values: FloatArray, where: float) -> FloatArray:
    """Linear interpolation along the first axis, constant beyond the ends."""
    where = float(np.clip(where, at[0], at[-1]))
    upper = int(np.clip(np.searchsorted(at, where), 1, len(at) - 1)) if len(at) > 1 else 0
    if upper == 0:
        return np.asarray(values[0])
    share = (where - at[upper - 1]) / (at[upper] - at[upper - 1])
    return np.asarray(values[upper - 1] * (1 - share) + values[upper] * share)


@cache
def load_reference(backbone: str) -> Reference:
    """The shipped reference of a backbone.

    Raises:
        ProbeError: none ships for it.
    """
    file = resources.files(__name__) / f"{backbone}.npz"
    if not file.is_file():
        raise ProbeError(f"Expected reference statistics for {backbone}. Received: none; use another backbone.")
    with file.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
        return Reference(
            weights=str(stored["weights"]),
            layers=tuple(str(name) for name in stored["layers"]),
            sizes=stored["sizes"].astype(np.float64),
            enlargements=stored["enlargements"].astype(np.float64),
            drift=stored["drift"].astype(np.float64),
            labels=tuple(str(label) for label in stored["labels"]),
            embedding_sizes=stored["embedding_sizes"].astype(np.float64),
            embeddings=stored["embeddings"].astype(np.float32) * float(stored["embedding_step"]),
        )
