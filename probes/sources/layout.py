"""Classes and splits from where files lie, whether in a folder, an archive or a remote store."""

import os
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace

from probes.dataset import TRAIN, Entry, ImageIndex, LeftOutCounter, Store, index_entries, split_name
from probes.errors import ProbeError

# fmt: off
IMAGE_SUFFIXES = frozenset((
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".dib", ".gif", ".webp", ".tif", ".tiff", ".pbm", ".pgm", ".ppm",
    ".jp2", ".avif",
))
# fmt: on
_EXPECTED = "Expected a folder with one sub-folder a class."


def suffix(name: str) -> str:
    """The suffix of a file's name in lower case, with its dot; empty without one."""
    return os.path.splitext(name)[1].lower()


def is_image(name: str) -> bool:
    """Whether a file's name says that it is an image of a kind that can be read."""
    return suffix(name) in IMAGE_SUFFIXES


def index_tree(
    names: Sequence[str], folders: Collection[str], store: Store, *, source: str, kind: str, hint: bool = True
) -> ImageIndex:
    """Make the index from the names of all files of a tree.

    The first folder of a path is the class; where the first folders are all splits (train, val, test …), the second is.

    Args:
        names: of files, relative to the root, parts separated by "/".
        folders: of folders, likewise; at least those of the first two levels. They show which classes are empty.
        store: opens a file by its name.
        source: what the user named.
        kind: of source.
        hint: whether a user can point at a folder inside.

    Returns:
        The index.

    Raises:
        ProbeError: the tree does not hold at least two classes of images.
    """
    tops = sorted({name.split("/", 1)[0] for name in names if "/" in name} | {name.split("/")[0] for name in folders})
    images = [name for name in names if is_image(name)]
    ignored = Counter(suffix(name) or "no suffix" for name in names if "/" in name and not is_image(name))
    inside = sorted({name.split("/", 1)[0] for name in images if "/" in name})
    _require_images(tops, images, inside, ignored, source)
    left_out = LeftOutCounter()
    by_split = _are_splits(inside, images)
    classes = {parts[1] if by_split else parts[0] for name in images if len(parts := name.split("/")) > 1 + by_split}
    if not by_split:
        _require_two(inside, images, source, hint)
    index = index_entries(
        _entries(images, by_split, left_out), store, source=source, kind=kind, left_out=left_out, ignored=ignored
    )
    level = {parts[by_split] for name in folders if len(parts := name.split("/")) > by_split}
    return replace(index, empty=tuple(sorted(level - classes)))


def _are_splits(inside: Sequence[str], images: Sequence[str]) -> bool:
    """Whether the first folders are splits that hold class folders, rather than classes of such names."""
    if not inside or any(split_name(name) is None for name in inside):
        return False
    return any(name.count("/") > 1 and split_name(name.split("/", 1)[0]) == TRAIN for name in images)


def _entries(images: Sequence[str], by_split: bool, left_out: LeftOutCounter) -> Iterator[Entry]:
    for name in images:
        parts = name.split("/", 1 + by_split)
        if len(parts) <= 1 + by_split:
            left_out.add("images outside the class folders", name)
        elif by_split:
            yield Entry(name, parts[1], split_name(parts[0]) or TRAIN)
        else:
            yield Entry(name, parts[0])


def _require_images(
    tops: Sequence[str], images: Sequence[str], inside: Sequence[str], ignored: Counter[str], source: str
) -> None:
    if inside:
        return
    if images:
        raise ProbeError(
            f"{_EXPECTED} Received: {source!r} with {len(images)} images and no class folders. Move each class's "
            "images into a sub-folder named after it."
        )
    if tops or ignored:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(ignored.items())) or "no files"
        raise ProbeError(
            f"{_EXPECTED} Received: {source!r} with {len(tops)} sub-folders and no image in them ({kinds}). "
            f"Images are {' '.join(sorted(IMAGE_SUFFIXES))}."
        )
    raise ProbeError(f"{_EXPECTED} Received: {source!r}, an empty folder.")


def _require_two(inside: Sequence[str], images: Sequence[str], source: str, hint: bool) -> None:
    if len(inside) > 1:
        return
    inner = {name.split("/")[1] for name in images if name.count("/") > 1}
    what = (
        f"Point at the folder inside: `recommend {os.path.join(source, inside[0])!r}`."
        if hint and len(inner) > 1
        else "A classifier needs at least two classes."
    )
    raise ProbeError(f"{_EXPECTED} Received: {source!r} with the single class {inside[0]!r}. {what}")
