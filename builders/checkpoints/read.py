"""Reading a checkpoint of any format: what is in it first, its arrays only when they are needed.

Nothing in a file is ever run: no pickle, no Keras configuration, no TensorFlow graph.
"""

import os
from pathlib import Path

from builders.checkpoints import hdf5, npz_file, safetensors_file, tf_checkpoint
from builders.checkpoints.checkpoint import Checkpoint, Reader, readable
from builders.errors import BuildError

READERS: tuple[Reader, ...] = (hdf5, npz_file, safetensors_file, tf_checkpoint)


def read_checkpoint(path: str | os.PathLike[str]) -> Checkpoint:
    """Read what a checkpoint holds.

    Args:
        path: a file, the prefix of a TensorFlow checkpoint ("dir/ckpt-1"), or a folder with its `checkpoint` file, from
            which the latest one is taken. The content decides on the format.

    Returns:
        Names, shapes and places of its variables.

    Raises:
        BuildError: there is no such file, its format is unknown, or it is damaged.
    """
    path = Path(path)
    with readable(path):
        for reader in READERS:
            if reader.recognises(path):
                return reader.read(path)
        problem = "which is none of them" if path.exists() else "which does not exist"
    raise BuildError(
        "Expected `checkpoint` to name a TensorFlow checkpoint (its prefix, or the folder with its `checkpoint` file), "
        f".weights.h5, .keras, .h5, .npz or .safetensors. Received: {path}, {problem}. Check the path."
    )
