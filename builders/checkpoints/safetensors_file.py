"""Reading `.safetensors`: arrays by the names of variables."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from builders.checkpoints.checkpoint import Checkpoint, Read, Weight, readable


def recognises(path: Path) -> bool:
    """Whether the path has the suffix; the format has no other mark."""
    return path.suffix == ".safetensors" and path.is_file()


def read(path: Path) -> Checkpoint:
    """Read names and shapes.

    Raises:
        BuildError: the file is damaged.
    """
    import safetensors

    weights = []
    with _open(path) as array_of, safetensors.safe_open(path, framework="np") as file:
        for name in file.keys():  # noqa: SIM118 - no mapping
            array = array_of(name)
            weights.append(
                Weight(name=name.removesuffix(":0"), shape=array.shape, dtype=array.dtype.name, address=name)
            )
    return Checkpoint(path=path, weights=tuple(weights), opener=partial(_open, path))


@contextmanager
def _open(path: Path) -> Iterator[Read]:
    import safetensors

    with (
        readable(path, "safetensors file", safetensors.SafetensorError),
        safetensors.safe_open(path, framework="np") as file,
    ):
        yield file.get_tensor
