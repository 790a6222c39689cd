"""Is an image file as long as it claims? For the formats whose decoders in fabio do not ask.

Given a truncated file, fabio searches a CBF for ever, decodes memory beyond the end of a mar345, and reads an
R-AXIS from the wrong place (it counts from the end). Each of them states enough to know its length before.
"""

from __future__ import annotations

import os
import re
import struct
from pathlib import Path

from beamline.errors import DataFileError

# CCP4 packed images (J. P. Abrahams 1993, 1995): bits of the two halves of a chunk's head (log2 of its number
# of pixels, index of their width), and the widths
_PACKINGS = {
    b"": (3, (0, 4, 5, 6, 7, 8, 16, 32)),
    b" V2": (4, (0, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 32)),
}


def check(path: Path) -> None:
    """Check the length of a file against what it claims, where its format needs it.

    Raises
    ------
    DataFileError
        The file is shorter than it claims.
    """
    with open(path, "rb") as file:
        head = file.read(2**16)
    if head.startswith(b"###CBF"):
        _cbf(path, head)
    elif head[:4] in (b"\xd2\x04\0\0", b"\0\0\x04\xd2"):
        _mar345(path)
    elif head.startswith(b"R-AXIS"):
        _raxis(path, head)


def _cbf(path: Path, head: bytes) -> None:
    """Check X-Binary-Size, the length of the binary section."""
    start = head.find(b"\x0c\x1a\x04\xd5")
    claimed = re.search(rb"X-Binary-Size:\s*(\d+)", head[: max(start, 0)])
    if start < 0 or claimed is None:
        raise DataFileError(path, "is truncated within the header of its binary section", "copy it again")
    _long_enough(path, start + 4 + int(claimed[1]))


def _mar345(path: Path) -> None:
    """Add up the chunks of the packed image: they must hold all pixels and lie inside the file."""
    raw = path.read_bytes()
    line = re.search(rb"\nCCP4 packed image( V2)?, X: +?(\d+), Y: +?(\d+)\n", raw)
    if line is None:
        raise DataFileError(path, "holds no packed image", "is it complete?")
    half, widths = _PACKINGS[line[1] or b""]
    mask = (1 << half) - 1
    bits = (len(raw) - line.end()) * 8
    pixels, at, start = int(line[2]) * int(line[3]), 0, line.end()
    while pixels > 0:
        byte = start + (at >> 3)
        chunk = int.from_bytes(raw[byte : byte + 2], "little") >> (at & 7)
        index = chunk >> half & mask
        if index >= len(widths):
            raise DataFileError(path, "has a packed image that cannot be unpacked", "copy it again")
        number = min(1 << (chunk & mask), pixels)
        at += 2 * half + number * widths[index]
        if at > bits:
            raise DataFileError(path, "is truncated within its packed image", "copy it again")
        pixels -= number


def _raxis(path: Path, head: bytes) -> None:
    """Check that there is one record of header and all records of pixels, and nothing more."""
    if len(head) < 1400:
        raise DataFileError(path, "is truncated within its header", "copy it again")
    length, number = struct.unpack_from(">2l", head, 784)
    size = os.stat(path).st_size
    if size != length * (number + 1):
        raise DataFileError(
            path,
            f"has {size} bytes, its {number} records of {length} need {length * (number + 1)}",
            "copy it again",
        )


def _long_enough(path: Path, end: int) -> None:
    size = os.stat(path).st_size
    if end > size:
        raise DataFileError(
            path, f"is truncated: its pixels reach to byte {end}, the file has {size}", "copy it again"
        )
