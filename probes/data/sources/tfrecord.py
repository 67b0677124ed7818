"""The framing of TFRecord files: records one after the other, each with its length and two checksums.

Reference:
    https://www.tensorflow.org/tutorials/load_data/tfrecord#tfrecords_format_details
"""

import functools
import struct
from collections.abc import Iterator
from typing import IO, NamedTuple

import numpy as np
import numpy.typing as npt

from probes.data.sources.bounded_files import LARGEST_FILE
from probes.images.decode import UnreadableImage

HEADER, FOOTER = 12, 4  # bytes around a record: its length with a checksum, and a checksum of the record
_POLYNOMIAL = 0x82F63B78  # CRC-32C (Castagnoli), bits reflected
_ONES = 0xFFFFFFFF
_ROW = 1024  # bytes whose checksum is one look-up
_ROWS = 1024  # rows at once
_SHORT = 64  # bytes up to which a plain loop is faster


class BrokenRecord(Exception):
    """A record's frame is cut off or damaged, so that nobody knows where the next one begins."""


class Record(NamedTuple):
    """A record of a shard.

    Attributes:
        offset: where its data begin.
        size: of the data, in bytes.
        data: None where there are more than `LARGEST_FILE` bytes.
        checksum: of the data, as the file has it.
    """

    offset: int
    size: int
    data: bytes | None
    checksum: int


@functools.cache
def _tables() -> npt.NDArray[np.uint32]:
    """What a byte with nothing but zeros after it does to the checksum of a row, of shape (row, 256)."""
    last = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        last = np.where(last & 1, (last >> 1) ^ np.uint32(_POLYNOMIAL), last >> 1)
    rows = np.empty((_ROW, 256), np.uint32)
    rows[-1] = row = last
    for place in range(_ROW - 2, -1, -1):
        rows[place] = row = last[row & 255] ^ (row >> 8)
    return rows


@functools.cache
def _columns(place: int) -> list[int]:
    """The look-up table for one place of a row, as Python's own numbers."""
    return [int(value) for value in _tables()[place]]


def crc32c(data: bytes) -> int:
    """The CRC-32C of some bytes, at about 200 MB/s.

    It is linear: a row's is the XOR of what each of its bytes does alone, what came before a row acts on its first four
    bytes, and zeros before everything change nothing once the initial ones are in the data.
    """
    if len(data) < _SHORT:
        table, state = _columns(_ROW - 1), _ONES
        for byte in data:
            state = table[(state ^ byte) & 255] ^ state >> 8
        return state ^ _ONES
    n_zeros = -len(data) % _ROW
    padded = np.zeros(n_zeros + len(data), np.uint8)
    padded[n_zeros:] = np.frombuffer(data, np.uint8)
    padded[n_zeros : n_zeros + 4] ^= 255
    first, second, third, fourth = (_columns(place) for place in range(4))
    state = 0
    for row in _row_sums(padded.reshape(-1, _ROW)):
        state = row ^ first[state & 255] ^ second[state >> 8 & 255] ^ third[state >> 16 & 255] ^ fourth[state >> 24]
    return state ^ _ONES


def _row_sums(rows: npt.NDArray[np.uint8]) -> Iterator[int]:
    table, starts = _tables().ravel(), np.arange(_ROW, dtype=np.int32) * 256
    for start in range(0, len(rows), _ROWS):
        yield from np.bitwise_xor.reduce(table[rows[start : start + _ROWS] + starts], axis=1).tolist()


def _masked(data: bytes) -> int:
    """The checksum as TFRecord files have it."""
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & _ONES


def _length(header: bytes) -> int:
    if len(header) < HEADER:
        raise BrokenRecord("cut off")
    length, checksum = struct.unpack("<QI", header)
    if _masked(header[:8]) != checksum:
        raise BrokenRecord("a damaged length")
    return int(length)


def is_tfrecord(head: bytes) -> bool:
    """Whether the first 12 bytes of a file, or none, are those of a TFRecord file that is not compressed."""
    try:
        return not head or _length(head[:HEADER]) >= 0
    except BrokenRecord:
        return False


def read_records(file: IO[bytes], start: int, end: int) -> Iterator[Record]:
    """All records between two places of a file.

    Raises:
        BrokenRecord: a frame is cut off or damaged.
    """
    file.seek(start)
    at = start
    while at < end:
        size = _length(file.read(HEADER))
        offset = at + HEADER
        at = offset + size + FOOTER
        if at > end:
            raise BrokenRecord("cut off")
        data = None
        if size <= LARGEST_FILE:
            data = file.read(size)
        else:
            file.seek(offset + size)
        footer = file.read(FOOTER)
        if len(footer) < FOOTER:
            raise BrokenRecord("cut off")
        yield Record(offset, size, data, struct.unpack("<I", footer)[0])


def is_whole(data: bytes, checksum: int) -> bool:
    """Whether a record's data are as they were written."""
    return _masked(data) == checksum


def checked_record(framed: bytes) -> bytes:
    """A record's data from them and the checksum behind them.

    Raises:
        UnreadableImage: they are not as they were written.
    """
    data, footer = framed[:-FOOTER], framed[-FOOTER:]
    if len(footer) < FOOTER or not is_whole(data, struct.unpack("<I", footer)[0]):
        raise UnreadableImage("damaged in the record: its checksum does not match")
    return data
