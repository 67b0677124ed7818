"""Classes and splits from the paths of files."""

import os
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace

from probes.data.image_index import TRAIN, Entry, ImageIndex, LeftOutCounter, Store, index_entries, split_name
from probes.errors import ProbeError
from probes.images.suffixes import IMAGE_SUFFIXES, is_image, suffix

_SHARD = re.compile(r"\.(tfrecords?|tfrec)(\.gz|\.gzip)?(-\d+-of-\d+)?$|-\d{5,}-of-\d{5,}$", re.IGNORECASE)
_EXPECTED = "Expected a folder with one sub-folder a class."


def is_shard(name: str) -> bool:
    """Whether a file's name is one that TFRecord files have, as train.tfrecord or train-00000-of-00010."""
    return _SHARD.search(name) is not None


def holds_only_shards(names: Iterable[str]) -> bool:
    """Whether a tree holds TFRecord files, and no image in a sub-folder; `names` are read as far as needed."""
    found = False
    for name in names:
        if "/" in name and is_image(name):
            return False
        found = found or is_shard(name)
    return found


def index_tree(
    names: Sequence[str],
    folders: Collection[str],
    store: Store,
    *,
    source: str,
    kind: str,
    left_out: LeftOutCounter,
) -> ImageIndex:
    """Make the index from the names of all files of a tree.

    The first folder of a path is the class; where the first folders are splits (train, val, test …), the second is.

    Args:
        names: of files, relative to the root, parts separated by "/".
        folders: of folders, likewise; at least those of the first two levels. They show which classes are empty.
        store: opens a file by its name.
        source: what the user named.
        kind: of source.
        left_out: what has been left out of `names`.

    Returns:
        The index.

    Raises:
        ProbeError: the tree does not hold at least two classes of images.
    """
    tops = sorted({name.split("/", 1)[0] for name in names if "/" in name} | {name.split("/")[0] for name in folders})
    images = [name for name in names if is_image(name)]
    others = (name for name in names if not is_image(name) and ("/" in name or is_shard(name)))
    ignored = Counter(_printable(suffix(name)) or "no suffix" for name in others)
    inside = sorted({name.split("/", 1)[0] for name in images if "/" in name})
    if not inside:
        raise _no_classes(images, tops, ignored, left_out, source)
    splits = _splits(inside, images)
    if splits and not any(split_name(name) == TRAIN for name in splits):
        raise _no_training(splits, tops, source)
    if not splits and len(inside) == 1:
        raise _single_class(inside[0], images, source, kind)
    index = index_entries(
        _entries(images, splits, left_out), store, source=source, kind=kind, left_out=left_out, ignored=ignored
    )
    return replace(index, empty=_empty(images, folders, splits))


def _printable(name: str) -> str:
    """A part of a file's name in one line of printable characters."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in name)


def _splits(inside: Sequence[str], images: Sequence[str]) -> frozenset[str]:
    """The first folders that are splits; none where they are classes, some of which may be called like a split.

    Some split must hold class folders. Besides, all first folders are called like splits, or several are and the
    training split is among those with class folders: then the other folders belong to no split.

    Args:
        inside: the first folders that hold images.
        images: names of all images.
    """
    called = {name: split for name in inside if (split := split_name(name))}
    deep = {called[top] for name in images if name.count("/") > 1 and (top := name.split("/", 1)[0]) in called}
    several = TRAIN in deep and len(set(called.values())) > 1
    return frozenset(called) if deep and (several or len(called) == len(inside)) else frozenset()


def _entries(images: Sequence[str], splits: Collection[str], left_out: LeftOutCounter) -> Iterator[Entry]:
    level = 1 if splits else 0
    for name in images:
        parts = name.split("/", 1 + level)
        if splits and len(parts) > 1 and parts[0] not in splits:
            left_out.add("images outside the splits", name)
        elif len(parts) <= 1 + level:
            left_out.add("images outside the class folders", name)
        else:
            yield Entry(name, parts[level], (split_name(parts[0]) if splits else None) or TRAIN)


def _empty(images: Sequence[str], folders: Collection[str], splits: Collection[str]) -> tuple[str, ...]:
    """Folders at the level of the classes that hold no image."""
    level = 1 if splits else 0

    def classes(paths: Iterable[Sequence[str]]) -> set[str]:
        return {parts[level] for parts in paths if len(parts) > level and (not splits or parts[0] in splits)}

    full = classes(name.split("/")[:-1] for name in images)
    return tuple(sorted(classes(name.split("/") for name in folders) - full))


def _no_classes(
    images: Sequence[str], tops: Sequence[str], ignored: Counter[str], left_out: LeftOutCounter, source: str
) -> ProbeError:
    if images:
        return ProbeError(
            f"{_EXPECTED} Received: {source!r} with {len(images)} images and no class folders. Move each class's "
            "images into a sub-folder named after it."
        )
    if not tops and not ignored:
        return ProbeError(f"{_EXPECTED} Received: {source!r}, an empty folder{left_out}.")
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(ignored.items())) or "no files"
    return ProbeError(
        f"{_EXPECTED} Received: {source!r} with {len(tops)} sub-folders and no image in them ({kinds}){left_out}. "
        f"Images are {' '.join(sorted(IMAGE_SUFFIXES))}."
    )


def _no_training(splits: Collection[str], tops: Sequence[str], source: str) -> ProbeError:
    empty = [name for name in tops if split_name(name) == TRAIN]
    advice = f"Put class folders with images into {empty[0]!r}." if empty else "Name one folder 'train'."
    return ProbeError(
        f"{_EXPECTED} Received: {source!r} with the split{'s' if len(splits) > 1 else ''} "
        f"{', '.join(_printable(name) for name in sorted(splits))} and no training split. {advice}"
    )


def _single_class(name: str, images: Sequence[str], source: str, kind: str) -> ProbeError:
    advice = "A classifier needs at least two classes."
    if kind == "folder" and len({image.split("/")[1] for image in images if image.count("/") > 1}) > 1:
        advice = f"Point at the folder inside: `recommend {os.path.join(source, name)!r}`."
    return ProbeError(f"{_EXPECTED} Received: {source!r} with the single class {name!r}. {advice}")
