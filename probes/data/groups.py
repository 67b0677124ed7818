"""Groups of images that belong together. Imports nothing heavy."""

import numpy as np
import numpy.typing as npt


def by_first_appearance(names: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """The groups of n images numbered as they first appear, so that nothing depends on their names: of shape (n,)."""
    _, first, inverse = np.unique(np.asarray(names), return_index=True, return_inverse=True)
    return np.asarray(np.argsort(np.argsort(first))[inverse], np.int64)
