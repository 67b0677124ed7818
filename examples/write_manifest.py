"""Write a Parquet manifest of an image folder: the path and the label of each image.

python examples/write_manifest.py FOLDER MANIFEST.parquet
"""

import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq


def write_manifest(folder: Path, manifest: Path) -> Path:
    """Write the manifest of a folder with one sub-folder a class, and return its path."""
    files = sorted(path for path in folder.glob("*/*") if path.is_file())
    paths, labels = [str(path.absolute()) for path in files], [path.parent.name for path in files]
    pq.write_table(pa.table({"path": paths, "label": labels}), manifest, row_group_size=10_000)
    return manifest


if __name__ == "__main__":
    print(write_manifest(Path(sys.argv[1]), Path(sys.argv[2])))
