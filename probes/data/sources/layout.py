"""Classes and splits from where files lie, whether in a folder, an archive or a remote store."""

import os
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace

from probes.data.image_index import TRAIN, Entry, ImageIndex, LeftOutCounter, Store, index_entries, split_name
from probes.errors import ProbeError
from probes.images.suffixes import IMAGE_SUFFIXES, is_image, suffix

# fmt: on
_SHARD = re.compile(r"\.(tfrecords?|tfrec)(\.gz|\.gzip)?(-\d+-of-\d+)?$|-\d{5,}-of-\d{5,}$", re.IGNORECASE)
_EXPECTED = "Expected a folder with one sub-folder a class."


def is_shard(name: str | os.PathLike[str]) -> bool:
    """Whether a file's name is one that TFRecord files have, as train.tfrecord or train-00000-of-00010."""
    return _SHARD.search(os.fspath(name)) is not None


def holds_shards_alone(names: Iterable[str]) -> bool:
    """Whether a tree is one of TFRecord files: there are some, and no image lies in a folder of the tree.

    Args:
        names: of its files, relative to its root; no more of them are looked at than needed.
    """
    found = False
    for name in names:
        if "/" in name and is_image(name):
            return False
        found = found or is_shard(name)
    return found


def _printable(name: str) -> str:
    """A part of a file's name in one line of what can be printed."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in name)


def index_tree(
    names: Sequence[str],
    folders: Collection[str],
    store: Store,
    *,
    source: str,
    kind: str,
    hint: bool = True,
    left_out: LeftOutCounter | None = None,
) -> ImageIndex:
    """Make the index from the names of all files of a tree.

    The first folder of a path is the class; where the first folders are splits (train, val, test …), the second is.

    Args:
        names: of files, relative to the root, parts separated by "/".
        folders: of folders, likewise; at least those of the first two levels. They show which classes are empty.
        store: opens a file by its name.
        source: what the user named.
        kind: of source.
        hint: whether a user can point at a folder inside.
        left_out: what has been left out of `names`.

    Returns:
        The index.

    Raises:
        ProbeError: the tree does not hold at least two classes of images.
    """
    left_out = left_out or LeftOutCounter()
    tops = sorted({name.split("/", 1)[0] for name in names if "/" in name} | {name.split("/")[0] for name in folders})
    images = [name for name in names if is_image(name)]
    ignored = _ignored(names)
    inside = sorted({name.split("/", 1)[0] for name in images if "/" in name})
    _require_images(tops, images, inside, ignored, left_out, source)
    splits = _splits(inside, images)
    by_split = bool(splits)
    if by_split:
        _require_training(splits, tops, source)
    else:
        _require_two(inside, images, source, hint)
    index = index_entries(
        _entries(images, splits, left_out), store, source=source, kind=kind, left_out=left_out, ignored=ignored
    )
    return replace(index, empty=_empty(images, folders, splits))


def _ignored(names: Sequence[str]) -> Counter[str]:
    """How many files are passed over, by suffix: those in folders that are no images, and all TFRecord files."""
    others = (name for name in names if not is_image(name) and ("/" in name or is_shard(name)))
    return Counter(_printable(suffix(name)) or "no suffix" for name in others)


def _splits(inside: Sequence[str], images: Sequence[str]) -> frozenset[str]:
    """The first folders that are splits; none where they are classes, some of which may be called like a split.

    Some split must hold class folders. Besides, all first folders are called like splits, or several are and the
    training split is among those with class folders: then whatever lies beside them belongs to none.

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
    """Folders where classes lie that hold no image."""
    level = 1 if splits else 0

    def classes(paths: Iterable[Sequence[str]]) -> set[str]:
        return {parts[level] for parts in paths if len(parts) > level and (not splits or parts[0] in splits)}

    full = classes(name.split("/")[:-1] for name in images)
    return tuple(sorted(classes(name.split("/") for name in folders) - full))


def _require_images(
    tops: Sequence[str],
    images: Sequence[str],
    inside: Sequence[str],
    ignored: Counter[str],
    left_out: LeftOutCounter,
    source: str,
) -> None:
    if inside:
        return
    if images:
        raise ProbeError(
            f"{_EXPECTED} Received: {source!r} with {len(images)} images and no class folders. Move each class's "
            "images into a sub-folder named after it."
        )
    if tops or ignored:
        found = [f"{count} {kind}" for kind, count in sorted(ignored.items())]
        kinds = ", ".join(found + [f"{left.n} {left.reason}" for left in left_out.result()]) or "no files"
        raise ProbeError(
            f"{_EXPECTED} Received: {source!r} with {len(tops)} sub-folders and no image in them ({kinds}). "
            f"Images are {' '.join(sorted(IMAGE_SUFFIXES))}."
        )
    raise ProbeError(f"{_EXPECTED} Received: {source!r}, an empty folder.")


def _require_training(splits: Collection[str], tops: Sequence[str], source: str) -> None:
    if any(split_name(name) == TRAIN for name in splits):
        return
    unsorted = [name for name in tops if split_name(name) == TRAIN]
    advice = f"Put class folders with images into {unsorted[0]!r}." if unsorted else "Name one folder 'train'."
    raise ProbeError(
        f"{_EXPECTED} Received: {source!r} with the split{'s' if len(splits) > 1 else ''} "
        f"{', '.join(_printable(name) for name in sorted(splits))} and no training split. {advice}"
    )


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
