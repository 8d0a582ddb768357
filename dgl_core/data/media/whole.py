"""Hold the length of a sound or video file against the one that it declares.

Decoders read a file that was cut off as if it ended there. Where a container declares its length, or is a chain of
pieces of declared length, the last piece must end where the file does.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Callable
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
        declared = f"its header declares {size - rest} bytes, the file has {size}"
        raise ValueError(f"{path}: {declared}; download or copy it again")


def _lengths(path: Path, data: mmap.mmap) -> tuple[int, int]:
    """Find where the content ends by its own account, and how many bytes come after that."""
    if data[:4] == b"RIFF":
        end = _riff(path, data)
        wave = data[8:12] == b"WAVE"
        return max(end if wave else end - SLOPPY, 12), len(data) - end if wave else 0
    if data[:4] == b"OggS":
        page = data[(last := data.rfind(b"OggS")) :]
        ended = len(page) > 27 and page[5] & 4  # flag of the last page
        return last + 27 + len(page[27:][: page[26]]) + sum(page[27:][: page[26]]) if ended else len(data) + 1, 0
    if data[4:8] == b"ftyp":
        return _chain(data, 0, _box), 0
    if data[:4] == b"\0\0\1\xba":
        return _chain(data, 0, _packet), 0
    return _chain(data, int.from_bytes(data[5:9], "big") + 4, _tag) if data[:3] == b"FLV" else 0, 0


def _riff(path: Path, data: mmap.mmap) -> int:
    """Find the end of the last chunk of a wav or avi file."""
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
        said = f"{rate} Hz, {channels} x {bits} bit, but {bytes_a_second} bytes a second"
        raise ValueError(f"{path}: its header contradicts itself ({said}); download or copy it again")


def _chain(data: mmap.mmap, place: int, length: Callable[[bytes], int]) -> int:
    """Follow pieces from ``place`` on, each as long as its first bytes say (0: no piece), to the end of the last."""
    end = 0
    while size := length(data[place : place + 16]):
        place = end = place + size
    return end


def _box(head: bytes) -> int:
    """Measure an outer box of an mp4 or mov file; one up to the end of the file declares no length."""
    size = int.from_bytes(head[:4], "big")
    if size == 1:
        size = int.from_bytes(head[8:], "big")
    return size if len(head) == 16 and size >= 8 else 0


def _packet(head: bytes) -> int:
    """Measure a packet of an MPEG program stream."""
    if head[:3] != b"\0\0\1":
        return 0
    head = head.ljust(14, b"\0")
    if head[3] == 0xBA:  # a pack, of MPEG-1 or MPEG-2
        return 12 if head[4] >> 4 == 2 else 14 + (head[13] & 7)
    return 4 if head[3] == 0xB9 else 6 + int.from_bytes(head[4:6], "big")


def _tag(head: bytes) -> int:
    """Measure a tag of an flv file, with the length that follows it."""
    return 15 + int.from_bytes(head[1:4], "big") if len(head) >= 11 else 0
