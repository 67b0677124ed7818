"""Damage to pictures of every form: what fuzz tests feed to the decoders."""

import random
import struct
import zlib
from pathlib import Path

from forms import sound_pictures

_EXTREMES = (0, 1, 2, 3, 255, 256, 4095, 16383, 32767, 32768, 65535, 65536, 10**6, 2**27, 2**31 - 1, 2**31, 2**32 - 1)
# Where a format has its width and height: bytes before them, how far behind, and how they are packed.
_FIELDS = (
    (b"IHDR", 0, ">I"),
    (b"IHDR", 4, ">I"),
    (b"\xff\xc0\0\x11\x08", 0, ">H"),
    (b"\xff\xc0\0\x11\x08", 2, ">H"),
    (b"\xff\xc2\0\x11\x08", 0, ">H"),
    (b"\xff\xc2\0\x11\x08", 2, ">H"),
    (b"GIF89a", 0, "<H"),
    (b"GIF89a", 2, "<H"),
    (b"BM", 16, "<i"),
    (b"BM", 20, "<i"),
    (b"VP8X", 8, "<I"),
    (b"VP8X", 11, "<H"),
    (b"\x9d\x01\x2a", 0, "<H"),
    (b"\x9d\x01\x2a", 2, "<H"),
    (b"ihdr", 0, ">I"),
    (b"ihdr", 4, ">I"),
    (b"ispe", 4, ">I"),
    (b"ispe", 8, ">I"),
    *((b"\xff\x51\0", at, ">I") for at in range(3, 35, 4)),
    (b"\xff\x51\0", 35, ">H"),  # components
)


def _size_of_piece(data, at):
    """How long the chunk, segment or box is that begins there; in other formats, a twentieth of the file."""
    if data.startswith(b"\x89PNG"):
        return 12 + int.from_bytes(data[at : at + 4], "big")
    if data.startswith(b"\xff\xd8"):
        return 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    if data.startswith(b"RIFF"):
        return 8 + (int.from_bytes(data[at + 4 : at + 8], "little") + 1 & ~1)
    if data[4:8] in (b"ftyp", b"jP  "):
        return max(8, int.from_bytes(data[at : at + 4], "big"))
    return max(16, len(data) // 20)


def _pieces(data):
    """The file's magic number and its chunks, segments or boxes."""
    at = 8 if data.startswith(b"\x89PNG") else 2 if data.startswith(b"\xff\xd8") else 12 if data[:4] == b"RIFF" else 0
    pieces = [data[:at]]
    while at < len(data) and len(pieces) < 50:
        end = at + _size_of_piece(data, at)
        pieces.append(data[at:end])
        at = end
    return [*pieces, data[at:]]


def _flip(data, rng):
    bad = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 5, 20, 100))):
        at = rng.randrange(min(len(bad), rng.choice((64, 400, len(bad)))))
        bad[at] = rng.choice((0, 255, rng.randrange(256), bad[at] ^ 1 << rng.randrange(8)))
    return bytes(bad)


def _noise(data, rng):
    at = rng.randrange(len(data))
    return data[:at] + rng.randbytes(rng.randrange(300)) + data[at + rng.randrange(300) :]


def _cut(data, rng):
    return data[: rng.randrange(len(data))]


def _number(data, rng):
    """An extreme number anywhere near the beginning or the end, where headers and directories are."""
    form = rng.choice(("<H", ">H", "<I", ">I"))
    size = struct.calcsize(form)
    near = min(len(data) - size, 400)
    at = rng.choice((rng.randrange(near), len(data) - size - rng.randrange(near)))
    return data[:at] + struct.pack(form, rng.choice(_EXTREMES) % 256**size) + data[at + size :]


def _measure(data, rng):
    """Another width, height or the like in the header, in one place or in all."""
    found = [(data.find(mark) + len(mark) + behind, form) for mark, behind, form in _FIELDS if mark in data]
    if data.startswith((b"II", b"MM")):
        found = _tiff_fields(data)
    elif data[:1] == b"P" and data[1:2].isdigit():
        return data[:3] + f"{rng.choice(_EXTREMES)} {rng.choice(_EXTREMES)}".encode() + data[8:]
    found = [(at, form) for at, form in found if at + struct.calcsize(form) <= len(data)]
    bad = bytearray(data)
    for at, form in rng.sample(found, min(len(found), rng.choice((1, 1, 2)))):
        size = struct.calcsize(form)
        bad[at : at + size] = struct.pack(form.upper(), rng.choice(_EXTREMES) % 256**size)
    return bytes(bad)


def _tiff_fields(data):
    """Field types, counts and values in the first directory."""
    order = "<" if data[:2] == b"II" else ">"
    (start,) = struct.unpack_from(f"{order}I", data, 4)
    entries = range(start + 2, min(start + 2 + 12 * 20, len(data) - 12), 12)
    return [(at + behind, order + form) for at in entries for behind, form in ((2, "H"), (4, "I"), (8, "I"), (8, "H"))]


def _shuffle(data, rng):
    """A chunk left out, doubled many times, or moved."""
    pieces = _pieces(data)
    place, way = rng.randrange(len(pieces)), rng.randrange(3)
    piece = pieces.pop(place)
    if way == 1:
        pieces[place:place] = [piece] * rng.choice((2, 3, 50))
    elif way == 2:
        pieces.insert(rng.randrange(len(pieces) + 1), piece)
    return b"".join(pieces)


def _splice(data, rng):
    other = rng.choice(list(sound_pictures().values()))
    return data[: rng.randrange(len(data))] + other[rng.randrange(len(other)) :]


def _append(data, rng):
    return data + rng.choice((bytes(5000), rng.randbytes(5000), data, rng.choice(list(sound_pictures().values()))))


def _checked(data):
    """With the check sums of a PNG mended, so that decoders get to what is wrong."""
    if not data.startswith(b"\x89PNG"):
        return data
    return b"".join(
        piece[:-4] + struct.pack(">I", zlib.crc32(piece[4:-4])) if place and len(piece) > 11 else piece
        for place, piece in enumerate(_pieces(data))
    )


_WAYS = (_flip, _flip, _noise, _cut, _number, _number, _measure, _measure, _shuffle, _splice, _append)


def damaged_pictures(n, seed):
    """Pictures of all forms in turns, with one to three kinds of damage.

    Args:
        n: how many.
        seed: of the damage.

    Yields:
        A name that tells which form it was and what was done to it, and the bytes.
    """
    sound = list(sound_pictures().items())
    for number in range(n):
        rng = random.Random(f"{seed} {number}")
        name, data = sound[number % len(sound)]
        ways = rng.sample(_WAYS, rng.choice((1, 1, 1, 2, 3)))
        for way in ways:
            data = way(data, rng) if len(data) > 16 else data
        data = _checked(data) if rng.random() < 0.7 else data
        done = "".join(way.__name__ for way in ways)
        form = Path(name)
        yield f"{number:06} {form.stem}{done}{form.suffix}", data


def write_damaged(folder, n, seed, classes=("flower", "temple", "digit")):
    """Write damaged pictures into class folders, in turns.

    Returns:
        The folder.
    """
    for name in classes:
        Path(folder, name).mkdir(parents=True, exist_ok=True)
    for number, (name, data) in enumerate(damaged_pictures(n, seed)):
        Path(folder, classes[number % len(classes)], name).write_bytes(data)
    return Path(folder)
