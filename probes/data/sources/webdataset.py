"""WebDataset tars: the members that share a key are a sample, an image and its label. Images are read in place."""

import contextlib
import errno
import io
import itertools
import json
import os
import posixpath
import tarfile
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, BinaryIO

from probes.data.bounded_files import LARGEST_FILE, TOO_LARGE
from probes.data.image_index import Entry, ImageIndex, LeftOutCounter, index_entries
from probes.data.labels import ONE_LABEL, shown
from probes.data.sources.archive import LARGEST_HEADER, open_tar, tar_headers
from probes.data.sources.folder import open_versioned
from probes.data.sources.manifest import is_missing, with_labels
from probes.data.sources.shards import ClassTexts, Shard, ShardFile, are_shards, shard_files
from probes.data.sources.source import Options
from probes.errors import ProbeError
from probes.images.decode import UnreadableImage
from probes.images.suffixes import is_image, suffix

_EXPECTED = (
    "Expected WebDataset tars: one, a pattern such as 'data/train-{0000..0009}.tar', or a folder that holds them."
)
_SUFFIXES = (".tar", ".tar.gz", ".tgz")
_LABELS = (".cls", ".json")  # suffixes of members with labels
_TEXT_KEYS = ("class_name", "label_name", "category_name", "class_text", "label_text")
_LABEL_KEYS = ("label", "class", "cls", "class_id", "label_id", "category", "category_id", "target", *_TEXT_KEYS)
_LONGEST_LABEL = 1000  # bytes of a .cls
_PEEKED, _PEEKED_BYTES = 64, 1 << 28  # members of a tar, and bytes before them, that decide whether it is a WebDataset


def recognises(data: Any) -> bool:
    return are_shards(data, is_tar) or (
        isinstance(data, str) and is_tar(data) and not os.path.isdir(data) and _begins_with_samples(data)
    )


def is_tar(name: str) -> bool:
    """Whether a file is a tar that is read in place, by its name."""
    return name.lower().endswith(_SUFFIXES)


def _begins_with_samples(path: str) -> bool:
    """Whether one of the first samples of a tar has an image and a label; a tar of class folders has no `.cls`."""
    with contextlib.suppress(OSError, ProbeError), open_versioned(path, _EXPECTED) as (file, *_):
        samples, _ = _read_samples(file, most=_PEEKED)
        labelled = {key: each for key, each in samples.items() if each.n_pictures and each.label is not None}
        one_folder = len({posixpath.dirname(key) for key in labelled}) == 1  # others may have notes beside images
        return one_folder or any(each.has_cls for each in labelled.values())
    return False


def index(data: str, _options: Options) -> ImageIndex:
    """List the images of a WebDataset tar, also a gzipped one, a folder that holds such files, or a pattern; or a URL.

    The key of a member is its path up to the first dot of the file's name. The label is what KEY.cls holds, or the
    value of `label`, `class`, `cls` … in KEY.json; there `class_name` … names the classes where each has one name of
    its own. Labels are numbers where all of them are whole numbers. Splits are those that `shard_files` finds.
    """
    left_out, texts = LeftOutCounter(), ClassTexts()
    shards: dict[str, TarShard] = {}
    entries: list[Entry] = []
    for name, file in shard_files(data, is_tar, _EXPECTED, left_out).items():
        samples = list(_usable(name, file, left_out))
        shards[name] = TarShard.of(file, samples)
        entries += [Entry(f"{name}/{one.name}", one.label, file.split) for one in samples]
        for one in samples:
            texts.add(one.label, one.text)
    labelled, _ = with_labels(entries, False, data)
    return texts.name(index_entries(labelled, TarStore(shards), source=data, kind="webdataset", left_out=left_out))


def contents(path: str) -> tuple[list[str], bool, "TarStore"]:
    """All pictures of a tar, labelled or not, up to where it is damaged; whether it is whole; and what opens them.

    A name is the path, a slash, and the picture's name in the tar.

    Raises:
        ProbeError: it is not there, or no tar.
        OSError: it can't be read.
    """
    (file,) = shard_files(path, is_tar, _EXPECTED, LeftOutCounter()).values()
    with file.open() as stream:
        samples, whole = _read_samples(stream, labelled=False)
    if not (samples or whole):
        raise ProbeError(f"{_EXPECTED} Received: {path!r}, which is no tar file.")
    store = TarStore({path: TarShard.of(file, samples.values())})
    return [f"{path}/{name}" for name in samples], whole, store


@dataclass(frozen=True, slots=True, kw_only=True)
class TarShard(Shard):
    """A tar; its images are in the order of a hash of their names, which takes less memory than the names."""

    hashes: "array[int]"

    @classmethod
    def of(cls, file: ShardFile, samples: Iterable["_Sample"]) -> "TarShard":
        rows = sorted((_hash(one.name), one.offset, one.size) for one in samples)
        hashes, offsets, sizes = (array("Q", [row[part] for row in rows]) for part in range(3))
        return cls(file=file, hashes=hashes, offsets=offsets, sizes=sizes)


def _hash(name: str) -> int:
    return int.from_bytes(blake2b(name.encode("utf-8", "surrogateescape"), digest_size=8).digest())


@dataclass(frozen=True, slots=True, eq=False)
class TarStore:
    """Pictures in tars, by names such as "train-0000.tar/000123.jpg"."""

    shards: Mapping[str, TarShard]

    def open(self, name: str) -> BinaryIO:
        beginnings = itertools.accumulate(name.split("/"), "{}/{}".format)
        shard = next(beginning for beginning in beginnings if beginning in self.shards)
        found, wanted = self.shards[shard], _hash(name[len(shard) + 1 :])
        number = bisect_left(found.hashes, wanted)
        if number == len(found.hashes) or found.hashes[number] != wanted:
            raise FileNotFoundError(errno.ENOENT, "No such picture in the tar")
        if found.sizes[number] > LARGEST_FILE:
            raise UnreadableImage(f"a picture {TOO_LARGE}", "bomb")
        return io.BytesIO(found.read(number))


@dataclass(slots=True)
class _Sample:
    """The members of a tar that share a key."""

    n_pictures: int = 0
    name: str = ""  # of the picture
    offset: int = 0
    size: int = 0
    label: Any = None
    has_cls: bool = False  # whether that comes from a .cls
    text: str = ""

    def add(self, archive: tarfile.TarFile, info: tarfile.TarInfo, name: str) -> None:
        if is_image(name):
            self.n_pictures += 1
            self.name, self.offset, self.size = name, info.offset_data, info.size
        elif suffix(name) == ".cls":
            word = _content(archive, info, _LONGEST_LABEL).decode("utf-8-sig", errors="replace").strip()
            self.label, self.has_cls = word or self.label, self.has_cls or bool(word)
        else:
            label, self.text = _json_label(_content(archive, info, LARGEST_HEADER), name)
            self.label = label if self.label is None else self.label


def _content(archive: tarfile.TarFile, info: tarfile.TarInfo, most: int) -> bytes:
    """The bytes of a member; none if these are more than `most`."""
    file = archive.extractfile(info) if info.size <= most else None
    return file.read() if file else b""


def _json_label(content: bytes, name: str) -> tuple[Any, str]:
    """The label in a JSON object, None without one, and the name of its class, empty without one."""
    try:
        values = json.loads(content)
    except (ValueError, RecursionError):
        return None, ""
    values = values if isinstance(values, dict) else {}
    label = next((values[key] for key in _LABEL_KEYS if not is_missing(values.get(key))), None)
    if isinstance(label, (list, dict)):
        raise ProbeError(f"Expected one label an image. Received: {shown(label)} in {name!r}. {ONE_LABEL}")
    text = next((value for key in _TEXT_KEYS if isinstance(value := values.get(key), str)), "")
    return int(label) if isinstance(label, float) and label.is_integer() else label, text


def _usable(name: str, file: ShardFile, left_out: LeftOutCounter) -> Iterator[_Sample]:
    """The samples of a shard with one picture and a label; the others are counted."""
    with file.open() as stream:
        samples, whole = _read_samples(stream)
    if not whole:
        reason = "shards with samples after a broken one" if samples else "shards that are no tar files"
        left_out.add(reason, f"{name} after {len(samples):,} samples")
    for key, sample in samples.items():
        if sample.n_pictures != 1:
            reason = f"samples {'with several pictures' if sample.n_pictures else 'without a picture'}"
        elif sample.label is None:
            reason = "samples without a label"
        elif sample.size > LARGEST_FILE:
            reason = f"pictures {TOO_LARGE}"
        else:
            yield sample
            continue
        left_out.add(reason, f"{name}/{key}")


def _read_samples(file: BinaryIO, most: int | None = None, *, labelled: bool = True) -> tuple[dict[str, _Sample], bool]:
    """The samples of a tar by their keys, up to where it is damaged, and whether it is whole.

    Of `most` members, also of a packed tar, no more than some bytes are unpacked. Without labels each picture is a
    sample, by its name.
    """
    end, samples = file.seek(0, os.SEEK_END), dict[str, _Sample]()
    try:
        archive = open_tar(file, "r:" if most is None else "r")
        if archive is None:
            return samples, False
        for info in itertools.islice(tar_headers(archive), most):
            if most is None and info.offset_data + info.size > end:
                return samples, False
            name = posixpath.normpath(info.name)
            folder, base = posixpath.split(name)
            key = base.partition(".")[0]  # empty for hidden files
            wanted = is_image(name) or (labelled and suffix(name) in _LABELS)
            if key and wanted and info.isreg() and not info.issparse():
                samples.setdefault(posixpath.join(folder, key) if labelled else name, _Sample()).add(
                    archive, info, name
                )
            if most is not None and archive.offset > _PEEKED_BYTES:
                break
    except (ProbeError, MemoryError):
        raise
    except Exception:  # noqa: BLE001  # tarfile raises nearly any on damaged archives
        return samples, False
    return samples, True
