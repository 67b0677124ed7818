"""Which files are images, by their names."""

import os

# fmt: off
IMAGE_SUFFIXES = frozenset((
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".dib", ".gif", ".webp", ".tif", ".tiff", ".pbm", ".pgm", ".ppm",
    ".jp2", ".avif",
))


def suffix(name: str) -> str:
    """The suffix of a file's name in lower case, with its dot; empty without one."""
    return os.path.splitext(name)[1].lower()


def is_image(name: str) -> bool:
    """Whether a file's name has the suffix of a readable image format."""
    return suffix(name) in IMAGE_SUFFIXES
