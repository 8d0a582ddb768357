"""Hold the length of a sound or video file against the one that it declares.

Decoders read a file that was cut off as if it ended there. Where a container declares its length, or is a chain of
pieces of declared length, the last piece must end where the file does.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from pathlib import Path

SLOPPY = 256  # bytes that headers of careless programs are wrong by
UNKNOWN = 0xFFFFFFFF  # length in the header of a file that was written into a pipe
PCM = (1, 3, 0xFFFE)  # wav formats of plain samples, whose rates must agree


def check_whole(path: Path) -> None:
    """Refuse a wav, ogg, avi, flv, mp4, mov or mpg file that is shorter or longer than it declares.

    Raises:
        ValueError: with file, reason and remedy. Other formats are left to their decoders.
    """
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        end, rest = _lengths(path, data)
        size = len(data)
    if end > size:
        raise ValueError(f"{path}: truncated at {size} bytes, its content goes on; download or copy it again")
    if rest > SLOPPY:
        raise ValueError(
            f"{path}: its header declares {size - rest} bytes, the file has {size}; download or copy it again"
        )


def _lengths(path: Path, data: mmap.mmap) -> tuple[int, int]:
    """Where the content ends by its own account, and how many bytes come after that."""
    if data[:4] == b"RIFF":
        end = _riff(path, data)
        wave = data[8:12] == b"WAVE"
        return max(end if wave else end - SLOPPY, 12), len(data) - end if wave else 0
    if data[:4] == b"OggS":
        page = data[(last := data.rfind(b"OggS")) :]
        ended = len(page) > 27 and page[5] & 4  # flag of the last page
        return last + 27 + len(page[27:][: page[26]]) + sum(page[27:][: page[26]]) if ended else len(data) + 1, 0
    if data[4:8] == b"ftyp":
        return max(_boxes(data), default=0), 0
    if data[:4] == b"\0\0\1\xba":
        return max(_packets(data)), 0
    return max(_tags(data), default=0) if data[:3] == b"FLV" else 0, 0


def _riff(path: Path, data: mmap.mmap) -> int:
    """The end of the last chunk of a wav or avi file."""
    place = 12 if data[8:12] == b"WAVE" else 0  # avi: of the outer chunks, of which large files have several
    start = size = 0
    while place + 8 <= len(data) and data[place : place + 4].isascii() and data[place : place + 4].strip(b"\0 "):
        name, size = data[place : place + 4], int.from_bytes(data[place + 4 : place + 8], "little")
        if size == UNKNOWN:
            return len(data)
        if name == b"fmt ":
            _check_rates(path, data[place + 8 : place + 24])
        start, place = place + 8, place + 8 + size + size % 2
    # The last byte of padding is often forgotten, and the length of the file often given as that of its samples.
    return len(data) if place - len(data) in (size % 2, start, start - 8) else place


def _check_rates(path: Path, header: bytes) -> None:
    kind, channels, rate, bytes_a_second, block, bits = struct.unpack("<HHIIHH", header.ljust(16, b"\0"))
    if kind in PCM and (bytes_a_second != rate * block or block != channels * -(-bits // 8)):
        raise ValueError(
            f"{path}: its header contradicts itself ({rate} Hz, {channels} x {bits} bit, but {bytes_a_second} bytes a "
            "second); download or copy it again"
        )


def _boxes(data: mmap.mmap) -> Iterator[int]:
    """The ends of the outer boxes of an mp4 or mov file."""
    place = 0
    while place + 16 <= len(data):
        size = int.from_bytes(data[place : place + 4], "big")
        if size == 1:
            size = int.from_bytes(data[place + 8 : place + 16], "big")
        if size < 8:  # 0: up to the end
            return
        place += size
        yield place


def _packets(data: mmap.mmap) -> Iterator[int]:
    """The ends of the packets of an MPEG program stream, as far as they follow each other."""
    place = 0
    while data[place : place + 3] == b"\0\0\1":
        head = data[place : place + 14].ljust(14, b"\0")
        if head[3] == 0xBA:  # a pack, of MPEG-1 or MPEG-2
            place += 12 if head[4] >> 4 == 2 else 14 + (head[13] & 7)
        else:
            place += 4 if head[3] == 0xB9 else 6 + int.from_bytes(head[4:6], "big")
        yield place


def _tags(data: mmap.mmap) -> Iterator[int]:
    """The ends of the tags of an flv file."""
    place = int.from_bytes(data[5:9], "big") + 4
    while place + 11 <= len(data):
        place += 11 + int.from_bytes(data[place + 1 : place + 4], "big") + 4
        yield place
