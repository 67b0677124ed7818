"""What archives of every kind have in common: members, of which some are pictures in class folders."""

import re
from collections.abc import Collection, Iterable
from typing import Generic, NamedTuple, TypeVar

from probes.data.image_index import LeftOutCounter, split_name
from probes.images.decode import UnreadableImage
from probes.images.suffixes import is_image

FILE, FOLDER, OTHER = "file", "folder", "other"
_DRIVE = re.compile(r"[A-Za-z]:")
_LEVELS = 6  # of folders that are remembered

Place = TypeVar("Place")


class Member(NamedTuple, Generic[Place]):
    """A member of an archive.

    Attributes:
        name: its path as the archive has it.
        kind: `FILE`, `FOLDER`, or `OTHER` for links, devices and the like.
        place: where its bytes are.
    """

    name: str
    kind: str
    place: Place


def missing() -> UnreadableImage:
    """The refusal of a name that is no member's."""
    return UnreadableImage("not in the archive", "missing")


def sort_out(members: Iterable[Member[Place]], left_out: LeftOutCounter) -> tuple[dict[str, Place], set[str]]:
    """The files and folders among members.

    Hidden names and what macOS adds are passed over. Of members of one name the last counts, as when it is unpacked.

    Args:
        members: of an archive.
        left_out: counts members with a path out of the archive, pictures that are links, and members of one name.

    Returns:
        Path -> place of each file, without the wrapping folder, and the paths of the folders of the first levels.
    """
    files: dict[str, Place] = {}
    folders: set[str] = set()
    for name, kind, place in members:
        parts = [part for part in name.split("/") if part not in ("", ".")]
        path = "/".join(parts)
        if name.startswith("/") or ".." in parts or "\\" in name or _DRIVE.match(name):
            left_out.add("members whose path leaves the archive", name)
        elif not parts or "__MACOSX" in parts or any(part.startswith(".") for part in parts):
            continue
        elif kind == FOLDER:
            _add_folders(parts, folders)
        elif kind == FILE:
            if path in files:
                left_out.add("members replaced by a later one of the same name", path)
            files[path] = place
            _add_folders(parts[:-1], folders)
        elif is_image(path):
            left_out.add("links and special files in the archive", path)
    return _unwrapped(files, folders)


def _add_folders(parts: list[str], folders: set[str]) -> None:
    for level in range(min(len(parts), _LEVELS), 0, -1):
        path = "/".join(parts[:level])
        if path in folders:
            return
        folders.add(path)


def _unwrapped(files: dict[str, Place], folders: set[str]) -> tuple[dict[str, Place], set[str]]:
    """Without the folder, or the chain of folders, that wraps all others, as in `zip -r data.zip data`."""
    wrapper = _wrapper([name for name in files if is_image(name)], folders)
    if not wrapper:
        return files, folders
    inside = {name.removeprefix(wrapper): place for name, place in files.items() if name.startswith(wrapper)}
    beside = {name: place for name, place in files.items() if not name.startswith(wrapper)}
    return beside | inside, {name.removeprefix(wrapper) for name in folders if name.startswith(wrapper)}


def _wrapper(images: Collection[str], folders: Collection[str]) -> str:
    """The folder that holds the class folders or splits, with "/" at its end; empty where nothing wraps them."""
    wrapper = ""
    for _ in range(_LEVELS):
        below = {name[len(wrapper) :].split("/", 1)[0] for name in folders if name.startswith(wrapper)} - {""}
        loose = any(name.startswith(wrapper) and "/" not in name[len(wrapper) :] for name in images)
        if len(below) != 1 or (wrapper and loose):
            return ""
        wrapper = f"{wrapper}{below.pop()}/"
        inside = [name[len(wrapper) :] for name in images if name.startswith(wrapper)]
        tops = {name.split("/", 1)[0] for name in inside if "/" in name}
        if len(tops) >= 2 or any(split_name(name.split("/")[0]) and name.count("/") > 1 for name in inside):
            return wrapper
    return ""
