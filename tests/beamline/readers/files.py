"""Small files of known content, written byte by byte (not by the libraries that read them)."""

from __future__ import annotations

import struct
import zlib
from base64 import b64encode
from hashlib import md5
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

import beamline
from beamline.errors import DataFileError

Tags = dict[int, tuple[int, Any]]
"""Extra TIFF tags: number -> (type, value)."""


def image(dtype: str = "uint16", shape: tuple[int, int] = (5, 7)) -> np.ndarray[Any, Any]:
    """Return a frame whose every pixel differs, with negative ones where the type has them."""
    pixels = np.arange(shape[0] * shape[1]).reshape(shape) * 37 % 251
    return (pixels - 10 if np.dtype(dtype).kind in "if" else pixels).astype(dtype)


def tiff(
    frames: list[np.ndarray[Any, Any]],
    *,
    order: str = "<",
    compression: int = 1,
    rows: int | None = None,
    tags: Tags | None = None,
) -> bytes:
    """Return a TIFF of these frames, pixels first, then the directory of each page."""
    out = bytearray(b"II*\0" if order == "<" else b"MM\0*") + b"\0\0\0\0"
    link = 4
    for frame in frames:
        height, width = frame.shape
        step = rows or height
        strips = [frame[i : i + step].astype(frame.dtype.newbyteorder(order)) for i in range(0, height, step)]
        blobs = [s.tobytes() if compression == 1 else zlib.compress(s.tobytes()) for s in strips]
        offsets = []
        for blob in blobs:
            offsets.append(len(out))
            out += blob
        kind = {"u": 1, "i": 2, "f": 3}[frame.dtype.kind]
        entries: dict[int, tuple[int, Any]] = {
            256: (4, width),
            257: (4, height),
            258: (3, frame.dtype.itemsize * 8),
            259: (3, compression),
            262: (3, 1),
            273: (4, offsets),
            277: (3, 1),
            278: (4, step),
            279: (4, [len(blob) for blob in blobs]),
            339: (3, kind),
            **(tags or {}),
        }
        link = _directory(out, entries, order, link)
    return bytes(out)


def _directory(out: bytearray, entries: Tags, order: str, link: int) -> int:
    """Append a directory, point `link` at it, and return where its own link is."""
    block = bytearray(struct.pack(f"{order}H", len(entries)))
    for tag, (kind, value) in sorted(entries.items()):
        if kind == 2:
            raw = value.encode() + b"\0"
            number = len(raw)
        else:
            values = value if isinstance(value, list) else [value]
            number = len(values)
            raw = struct.pack(f"{order}{number}{ {3: 'H', 4: 'I', 12: 'd'}[kind] }", *values)
        if len(raw) > 4:
            at = len(out)
            out += raw
            raw = struct.pack(f"{order}I", at)
        block += struct.pack(f"{order}HHI", tag, kind, number) + raw.ljust(4, b"\0")
    out[link : link + 4] = struct.pack(f"{order}I", len(out))
    out += block + b"\0\0\0\0"
    return len(out) - 4


_EDF_TYPES = {"u1": "UnsignedByte", "u2": "UnsignedShort", "i4": "SignedInteger", "f4": "FloatValue"}


def edf(
    frames: list[np.ndarray[Any, Any]], *, order: str = "<", header: dict[str, str] | None = None
) -> bytes:
    """Return an EDF of these frames."""
    out = b""
    for frame in frames:
        stored = frame.astype(frame.dtype.newbyteorder(order))
        pairs = {
            "HeaderID": "EH:000001:000000:000000",
            "ByteOrder": "LowByteFirst" if order == "<" else "HighByteFirst",
            "DataType": _EDF_TYPES[frame.dtype.str[1:]],
            "Dim_1": str(frame.shape[1]),
            "Dim_2": str(frame.shape[0]),
            "Size": str(frame.nbytes),
            **(header or {}),
        }
        text = "{\n" + "".join(f"{key} = {value} ;\n" for key, value in pairs.items())
        out += text.encode().ljust(1022) + b"}\n" + stored.tobytes()
    return out


def cbf(frame: np.ndarray[Any, Any], comments: str = "# Detector: none") -> bytes:
    """Return a CBF of the byte-offset compression with a Pilatus header (small differences only)."""
    values = frame.ravel().astype(int)
    stream = b""
    for step in np.diff(values, prepend=0):
        stream += struct.pack("<b", step) if -127 <= step <= 127 else b"\x80" + struct.pack("<h", step)
    head = (
        "###CBF: VERSION 1.5\n\ndata_frame\n\n"
        '_array_data.header_convention "PILATUS_1.2"\n_array_data.header_contents\n;\n'
        f"{comments}\n;\n\n_array_data.data\n;\n--CIF-BINARY-FORMAT-SECTION--\n"
        "Content-Type: application/octet-stream;\n"
        '     conversions="x-CBF_BYTE_OFFSET"\nContent-Transfer-Encoding: BINARY\n'
        f"X-Binary-Size: {len(stream)}\nX-Binary-ID: 1\n"
        f"Content-MD5: {b64encode(md5(stream, usedforsecurity=False).digest()).decode()}\n"
        'X-Binary-Element-Type: "signed 32-bit integer"\nX-Binary-Element-Byte-Order: LITTLE_ENDIAN\n'
        f"X-Binary-Number-of-Elements: {frame.size}\n"
        f"X-Binary-Size-Fastest-Dimension: {frame.shape[1]}\n"
        f"X-Binary-Size-Second-Dimension: {frame.shape[0]}\nX-Binary-Size-Padding: 128\n\n"
    )
    tail = b"\0" * 128 + b"\n--CIF-BINARY-FORMAT-SECTION----\n;\n"
    return head.replace("\n", "\r\n").encode() + b"\x0c\x1a\x04\xd5" + stream + tail


def write(path: Path, content: bytes | str) -> Path:
    """Write a file and return its path."""
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def reads_or_refuses(path: Path, **options: Any) -> bool:
    """Tell whether a file gives a valid Dataset, or an error that names it and a cause."""
    try:
        ds = beamline.read(path, **options)
    except DataFileError as error:
        return path.name in error.subject and bool(error.problem)
    return isinstance(ds, xr.Dataset)  # beamline.read has validated it
