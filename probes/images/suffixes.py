"""The formats of images that are read, and which files are images by their names."""

import os

_JPEG, _BMP = (".jpg", ".jpeg", ".jpe", ".jfif"), (".bmp", ".dib")
SUFFIXES = {  # of each format, as Pillow names it
    "JPEG": _JPEG,
    "MPO": _JPEG,  # a JPEG of several pictures
    "PNG": (".png",),
    "BMP": _BMP,
    "DIB": _BMP,
    "GIF": (".gif",),
    "WEBP": (".webp",),
    "TIFF": (".tif", ".tiff"),
    "PPM": (".pbm", ".pgm", ".ppm"),
    "JPEG2000": (".jp2",),
    "AVIF": (".avif",),
}
IMAGE_SUFFIXES = frozenset(suffix for suffixes in SUFFIXES.values() for suffix in suffixes)


def suffix(name: str) -> str:
    """The suffix of a file's name in lower case, with its dot; empty without one."""
    return os.path.splitext(name)[1].lower()


def is_image(name: str) -> bool:
    """Whether a file's name has the suffix of a readable image format."""
    return suffix(name) in IMAGE_SUFFIXES
