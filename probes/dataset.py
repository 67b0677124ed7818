"""From what the user has, a folder with one sub-folder a class, to an index of image files and a sample of them."""

import errno
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from probes.errors import ProbeError

# fmt: off
IMAGE_SUFFIXES = frozenset((
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".dib", ".gif", ".webp", ".tif", ".tiff", ".pbm", ".pgm", ".ppm",
    ".jp2", ".avif",
))
# fmt: on
_SPLITS = frozenset(("train", "training", "val", "valid", "validation", "dev", "test", "testing"))
_SPARE_FILES = 20  # how many more files of a class than its quota may be tried when some can't be read


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFolder:
    """An index of a folder of labelled images; no image has been opened yet.

    Attributes:
        path: the folder.
        class_names: its sub-folders that hold images, sorted; the order of the labels.
        files: for each class its image files, sorted, as paths relative to `path`.
        empty: sub-folders without any image file: no classes.
        ignored: how many files were passed over, by suffix.
    """

    path: Path
    class_names: tuple[str, ...]
    files: tuple[tuple[str, ...], ...]
    empty: tuple[str, ...]
    ignored: Mapping[str, int]

    @property
    def class_counts(self) -> tuple[int, ...]:
        return tuple(len(files) for files in self.files)

    @property
    def n_images(self) -> int:
        return sum(self.class_counts)


def is_image(name: str) -> bool:
    """Whether a file's name says that it is an image of a kind that can be read."""
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES


def _identity(folder: str | os.PathLike[str]) -> tuple[int, int]:
    facts = os.stat(folder)
    return facts.st_dev, facts.st_ino


def _kind(entry: os.DirEntry[str]) -> str:
    """What an entry or the target of a link is: "folder", "file", or "" for a link that leads nowhere and the like."""
    try:
        return "folder" if entry.is_dir() else "file" if entry.is_file() else ""
    except OSError as error:
        if error.errno == errno.ELOOP:
            return ""
        raise


def _walk(folder: str, inside: frozenset[tuple[int, int]]) -> Iterator[str]:
    """All files below a folder, links followed, hidden names and links back to a folder in `inside` passed over."""
    here = _identity(folder)
    if here in inside:
        return
    with os.scandir(folder) as found:
        entries = sorted(found, key=lambda entry: entry.name)
    for entry in entries:
        if entry.name.startswith("."):
            continue
        kind = _kind(entry)
        if kind == "folder":
            yield from _walk(entry.path, inside | {here})
        elif kind == "file":
            yield entry.path


def index_folder(path: str | os.PathLike[str]) -> ImageFolder:
    """List the images of a folder that holds one sub-folder a class.

    Args:
        path: the folder. Below a class's sub-folder images may lie at any depth.

    Returns:
        The index, in an order that depends on names alone.

    Raises:
        ProbeError: there is no such folder, it can't be listed, or it does not hold at least two classes of images.
    """
    root = Path(path)
    try:
        return _index(root)
    except FileNotFoundError:
        raise ProbeError(
            f"Expected a folder with one sub-folder a class. Received: {str(root)!r}, no such folder."
        ) from None
    except NotADirectoryError:
        raise ProbeError(
            f"Expected a folder with one sub-folder a class. Received: {str(root)!r}, a file. Name the folder that "
            "holds the class folders."
        ) from None
    except OSError as error:
        raise ProbeError(
            f"Expected to list the folder {str(error.filename or root)!r}. Received: {error.strerror}. Check its "
            "permissions."
        ) from error


def index_pictures(path: str | os.PathLike[str]) -> ImageFolder:
    """List all pictures below a folder, as one nameless class.

    Raises:
        ProbeError: there is no such folder, it can't be listed, or it holds no picture.
    """
    root = Path(path)
    try:
        found = list(_walk(str(root), frozenset()))
    except OSError as error:
        raise ProbeError(
            f"Expected a folder with pictures. Received: {str(root)!r}: {(error.strerror or str(error)).lower()}."
        ) from error
    files = tuple(os.path.relpath(name, root) for name in found if is_image(name))
    if not files:
        raise ProbeError(f"Expected a folder with pictures. Received: {str(root)!r}, which holds none.")
    return ImageFolder(path=root, class_names=("",), files=(files,), empty=(), ignored={})


def _index(root: Path) -> ImageFolder:
    with os.scandir(root) as found:
        entries = sorted((entry for entry in found if not entry.name.startswith(".")), key=lambda entry: entry.name)
    files: dict[str, tuple[str, ...]] = {}
    ignored: Counter[str] = Counter()
    empty = []
    for entry in entries:
        if _kind(entry) != "folder":
            continue
        below = list(_walk(entry.path, frozenset({_identity(root)})))
        images = tuple(os.path.relpath(name, root) for name in below if is_image(name))
        ignored.update(os.path.splitext(name)[1].lower() or "no suffix" for name in below if not is_image(name))
        if images:
            files[entry.name] = images
        else:
            empty.append(entry.name)
    loose = sum(is_image(entry.name) for entry in entries if _kind(entry) == "file")
    _require_classes(root, files, empty, ignored, loose)
    return ImageFolder(
        path=root,
        class_names=tuple(files),
        files=tuple(files.values()),
        empty=tuple(empty),
        ignored=dict(sorted(ignored.items())),
    )


def _require_classes(
    root: Path, files: Mapping[str, tuple[str, ...]], empty: list[str], ignored: Mapping[str, int], loose: int
) -> None:
    expected = "Expected a folder with one sub-folder a class."
    if not files and loose:
        raise ProbeError(
            f"{expected} Received: {str(root)!r} with {loose} images and no class folders. Move each class's images "
            "into a sub-folder named after it."
        )
    if not files and (empty or ignored):
        kinds = ", ".join(f"{count} {suffix}" for suffix, count in sorted(ignored.items())) or "no files"
        raise ProbeError(
            f"{expected} Received: {str(root)!r} with {len(empty)} sub-folders and no image in them ({kinds}). "
            f"Images are {' '.join(sorted(IMAGE_SUFFIXES))}."
        )
    if not files:
        raise ProbeError(f"{expected} Received: {str(root)!r}, an empty folder.")
    inner = {
        name: sorted({Path(file).parts[1] for file in below if len(Path(file).parts) > 2})
        for name, below in files.items()
    }
    if all(name.lower() in _SPLITS for name in files) and any(inner.values()):
        first = next(name for name in files if inner[name])
        raise ProbeError(
            f"{expected} Received: {str(root)!r} with the splits {', '.join(files)}. Point at one of them: "
            f"`recommend {str(root / first)!r}`."
        )
    if len(files) == 1:
        name = next(iter(files))
        hint = (
            f"Point at the folder inside: `recommend {str(root / name)!r}`."
            if len(inner[name]) > 1
            else "A classifier needs at least two classes."
        )
        raise ProbeError(f"{expected} Received: {str(root)!r} with the single class {name!r}. {hint}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Draw:
    """Which files of each class to look at.

    Attributes:
        quota: for each class, how many readable images are wanted.
        candidates: for each class, files in the order in which to try them; the first `quota` come first.
    """

    quota: tuple[int, ...]
    candidates: tuple[tuple[str, ...], ...]


def quotas(class_counts: tuple[int, ...], max_images: int) -> tuple[int, ...]:
    """Share `max_images` out among classes: two each where they have them, the rest in proportion by largest remainder.

    Args:
        class_counts: how many images each class has.
        max_images: the most that may be taken in all.

    Returns:
        How many to take of each class. All of them where they fit. Where not even two a class fit, the classes with
        most images get two each until nothing is left; two classes get at least one each.
    """
    counts = np.asarray(class_counts)
    if counts.sum() <= max_images:
        return class_counts
    base = np.minimum(counts, 2)
    if base.sum() > max_images:
        order = np.argsort(-counts, kind="stable")
        fits = np.cumsum(base[order]) <= max_images
        quota = np.zeros_like(counts)
        quota[order[fits]] = base[order[fits]]
        if fits.sum() < 2:  # a classifier needs two classes
            quota[order[:2]] = max_images - 1, 1
        return tuple(int(n) for n in quota)
    ideal = (counts - base) * (max_images - base.sum()) / (counts - base).sum()
    quota = base + np.floor(ideal).astype(int)
    for index in np.argsort(np.floor(ideal) - ideal, kind="stable")[: max_images - quota.sum()]:
        quota[index] += 1
    return tuple(int(n) for n in quota)


def draw_sample(folder: ImageFolder, max_images: int, seed: int) -> Draw:
    """Choose a stratified sample; the same for the same seed and the same file names."""
    quota = quotas(folder.class_counts, max_images)
    candidates = []
    for label, (files, wanted) in enumerate(zip(folder.files, quota, strict=True)):
        order = np.random.default_rng([seed, label]).permutation(len(files))
        tried = max(2 * wanted, wanted + _SPARE_FILES) if wanted else 0
        candidates.append(tuple(files[index] for index in order[:tried]))
    return Draw(quota=quota, candidates=tuple(candidates))
