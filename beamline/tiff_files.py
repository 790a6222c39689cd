"""TIFF files of one image, for simulators: what a detector writes (TIFF 6.0)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_SAMPLES = {"u": 1, "i": 2, "f": 3}


def encode(frame: NDArray[Any]) -> bytes:
    """Return an image (y, x) of numbers as an uncompressed little-endian TIFF of one strip."""
    data = np.ascontiguousarray(frame).astype(frame.dtype.newbyteorder("<"))
    entries = [
        (256, data.shape[1]),
        (257, data.shape[0]),
        (258, 8 * data.itemsize),
        (259, 1),  # not compressed
        (262, 1),  # 0 is black
        (273, 8 + 2 + 12 * 10 + 4),  # where the strip begins
        (277, 1),
        (278, data.shape[0]),
        (279, data.nbytes),
        (339, _SAMPLES[data.dtype.kind]),
    ]
    head = b"II*\0" + (8).to_bytes(4, "little") + len(entries).to_bytes(2, "little")
    # Type 4: one unsigned number of 32 bits.
    table = b"".join(
        tag.to_bytes(2, "little") + b"\4\0\1\0\0\0" + value.to_bytes(4, "little") for tag, value in entries
    )
    return head + table + bytes(4) + data.tobytes()
