"""TIFF frames, read from the tags up.

fabio returns no data, and no error, for a truncated TIFF; so the directory of the file is walked here, every
strip is checked to lie inside the file and to hold exactly the pixels the tags claim, and what passed is
taken straight from the file: uncompressed strips and those of the Deflate compression (Dioptas writes its
masks so). Anything rarer (LZW, PackBits, tiles) is decoded by fabio in a process of its own (`sandbox`) and
must have the size the tags claim.

References: TIFF 6.0 (Adobe, 1992); BigTIFF (libtiff).
"""

from __future__ import annotations

import os
import struct
import zlib
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import TYPE_CHECKING, Any

from beamline.errors import DataFileError
from beamline.readers import energy_tables, images, sandbox, sidecars, tiff_headers
from beamline.readers.registry import Format

if TYPE_CHECKING:
    import numpy as np
    import xarray as xr

_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_MAX_PAGES = 100_000

# tag types of TIFF 6.0: struct code and bytes
_TYPES = {1: ("B", 1), 2: ("s", 1), 3: ("H", 2), 4: ("I", 4), 6: ("b", 1), 8: ("h", 2), 9: ("i", 4)}
_TYPES |= {11: ("f", 4), 12: ("d", 8), 13: ("I", 4), 16: ("Q", 8), 17: ("q", 8), 18: ("Q", 8)}

_SUBFILE, _WIDTH, _HEIGHT, _BITS, _COMPRESSION, _OFFSETS, _SAMPLES = 254, 256, 257, 258, 259, 273, 277
_ROWS, _COUNTS, _PREDICTOR, _TILES, _FORMAT = 278, 279, 317, 324, 339
_NEEDED = {_SUBFILE, _WIDTH, _HEIGHT, _BITS, _COMPRESSION, _OFFSETS, _SAMPLES, _ROWS, _COUNTS, _PREDICTOR}
_NEEDED |= {_TILES, _FORMAT}

_DEFLATE = (8, 32946)


@dataclass(frozen=True)
class _Page:
    """One frame: where its strips lie and what they hold; `plain` where they can be read here."""

    shape: tuple[int, int]
    dtype: str
    compression: int
    predictor: int
    strips: tuple[tuple[int, int, int], ...]  # offset, bytes in the file, rows
    plain: bool
    tags: dict[int, Any]


def read(
    path: Path,
    *,
    frames: tuple[int, int] | None = None,
    timezone: str | None = None,
    stamp: str | None = None,
    timeout: float | None = None,
) -> xr.Dataset:
    """Read a TIFF file, one frame per page.

    Parameters
    ----------
    path
        The file.
    frames
        Half-open range of frames to read; None is all.
    timezone, stamp
        As `beamline.readers.images.dataset`.
    timeout
        Limit in s for a compression that is decoded in a process of its own.

    Raises
    ------
    DataFileError
        The file is damaged, or not a grey-level image.
    """
    import numpy as np

    with open(path, "rb") as file:
        order, pages = _walk(file, path)
        wanted = images.frame_range(path, frames, len(pages))
        chosen = [pages[i] for i in wanted]
        for index, page in enumerate(chosen):
            images.check_shape(path, index, page.shape, chosen[0].shape)
            if page.dtype != chosen[0].dtype:
                raise DataFileError(path, f"frame {index} has other numbers than the first")
        _check_total(path, chosen)
        headers = [tiff_headers.header(file, page.tags, order) for page in chosen]
        if all(page.plain for page in chosen):
            counts = np.empty((len(chosen), *chosen[0].shape), np.dtype(chosen[0].dtype).newbyteorder("="))
            for target, page in zip(counts, chosen, strict=True):
                _decode(file, page, target, path)
        else:
            _, counts, _ = sandbox.decode(path, frames, timeout)
            if counts.shape != (len(chosen), *chosen[0].shape):
                raise DataFileError(
                    path, f"decodes to shape {counts.shape}, its tags claim {chosen[0].shape}"
                )
    ds = images.dataset(path, counts, headers, timezone=timezone, stamp=stamp)
    return energy_tables.complete(path, ds, wanted, len(pages))


def companions(path: Path) -> list[Path]:
    """Return the sidecars of an image, and the table of its energies."""
    return [*sidecars.companions(path), *energy_tables.companions(path)]


def count(path: Path) -> int:
    """Return the number of frames."""
    with open(path, "rb") as file:
        return len(_walk(file, path)[1])


def _walk(file: BufferedReader, path: Path) -> tuple[str, list[_Page]]:
    """Return the byte order and the pages of a file."""
    size = os.fstat(file.fileno()).st_size
    head = file.read(16)
    if head[:4] not in _MAGIC:
        raise DataFileError(path, "is not a TIFF file")
    order = "<" if head[:2] == b"II" else ">"
    big = head[2:4] in (b"+\0", b"\0+")
    at = _unpack(order + ("Q" if big else "I"), head, 8 if big else 4, path)
    pages: list[_Page] = []
    seen: set[int] = set()
    while at:
        if at in seen or len(seen) >= _MAX_PAGES:
            raise DataFileError(path, "has a directory that leads back to itself")
        seen.add(at)
        tags, at = _directory(file, at, size, order, big, path)
        if not tags.get(_SUBFILE, 0) & 1:  # bit 0: a thumbnail of another page
            pages.append(_page(tags, size, order, path))
    return order, pages


def _check_total(path: Path, pages: list[_Page]) -> None:
    """Refuse pages that share their pixels, and compressed ones that claim to be far more than they are."""
    import numpy as np

    size = os.stat(path).st_size
    stored = sum(length for page in pages for _, length, _ in page.strips)
    if stored > size:
        raise DataFileError(path, f"claims {stored} bytes of pixels, the file has {size}", "is it damaged?")
    claimed = sum(page.shape[0] * page.shape[1] * np.dtype(page.dtype).itemsize for page in pages)
    if claimed > 2 * images.MAX_FRAME_BYTES + 20 * size:
        raise DataFileError(path, f"claims {claimed} bytes in compressed pages", "give frames=(start, stop)")


def _directory(
    file: BufferedReader, at: int, size: int, order: str, big: bool, path: Path
) -> tuple[dict[int, Any], int]:
    """Return the tags of the directory at an offset, and the offset of the next one."""
    counter, entry, pointer = ("Q", "HHQ8s", "Q") if big else ("H", "HHI4s", "I")
    number = _unpack(order + counter, _part(file, at, struct.calcsize(order + counter), size, path), 0, path)
    length = struct.calcsize(order + entry)
    start = at + struct.calcsize(order + counter)
    block = _part(file, start, number * length + struct.calcsize(order + pointer), size, path)
    tags: dict[int, Any] = {}
    for i in range(number):
        tag, kind, n, value = struct.unpack_from(order + entry, block, i * length)
        if tag not in _NEEDED and not tiff_headers.speaks(tag):
            continue
        if kind not in _TYPES:
            if tag in _NEEDED:
                raise DataFileError(path, f"tag {tag} has the unknown type {kind}")
            continue
        code, width = _TYPES[kind]
        if n * width > len(value):
            offset = _unpack(order + pointer, value, 0, path)
            if offset + n * width > size:
                if tag not in _NEEDED:  # a lost comment spoils no pixel
                    continue
                raise DataFileError(
                    path, f"tag {tag} lies beyond the end of the file", "is the file complete?"
                )
            value = _part(file, offset, n * width, size, path)
        if code == "s":
            tags[tag] = value[:n].split(b"\0")[0].decode("utf-8", "replace").strip()
        else:
            values = struct.unpack_from(f"{order}{n}{code}", value)
            tags[tag] = values if tag in (_OFFSETS, _COUNTS, _BITS, _FORMAT) else (values[0] if n else 0)
    return tags, int(_unpack(order + pointer, block, number * length, path))


def _page(tags: dict[int, Any], size: int, order: str, path: Path) -> _Page:
    """Check what the tags of a page claim against the size of the file."""
    missing = [tag for tag in (_WIDTH, _HEIGHT) if not tags.get(tag)]
    if missing:
        raise DataFileError(path, f"lacks the size of its image (tag {missing[0]})")
    width, height = int(tags[_WIDTH]), int(tags[_HEIGHT])
    samples, bits = int(tags.get(_SAMPLES, 1)), tags.get(_BITS, (1,))
    if samples != 1 or len(bits) != 1:
        raise DataFileError(path, f"has {samples} colours per pixel: not a detector frame")
    kind = {1: "u", 2: "i", 3: "f"}.get(tags.get(_FORMAT, (1,))[0], "u")
    if bits[0] not in (8, 16, 32, 64) or (kind == "f" and bits[0] == 8):
        raise DataFileError(path, f"has pixels of {bits[0]} bits", "save it with 8, 16 or 32 bits")
    row = width * bits[0] // 8
    compression, predictor = int(tags.get(_COMPRESSION, 1)), int(tags.get(_PREDICTOR, 1))
    plain = (compression == 1 or (compression in _DEFLATE and predictor in (1, 2))) and _TILES not in tags
    if predictor == 2 and kind == "f":
        plain = False
    strips: tuple[tuple[int, int, int], ...] = ()
    if _TILES not in tags:
        strips = _strips(tags, height, row, size, path)
    if compression != 1 and row * height > images.MAX_FRAME_BYTES:
        raise DataFileError(
            path, f"claims {row * height} bytes per frame in a compressed file", "is it damaged?"
        )
    dtype = f"{order}{kind}{bits[0] // 8}"
    return _Page((height, width), dtype, compression, predictor, strips, plain, tags)


def _strips(
    tags: dict[int, Any], height: int, row: int, size: int, path: Path
) -> tuple[tuple[int, int, int], ...]:
    rows = min(int(tags.get(_ROWS, height)) or height, height)
    offsets = tags.get(_OFFSETS, ())
    number = -(-height // rows)
    if len(offsets) != number:
        raise DataFileError(
            path, f"has {len(offsets)} strips, its size needs {number}", "is the file complete?"
        )
    in_strip = [min(rows, height - i * rows) for i in range(number)]
    counts = tags.get(_COUNTS)
    if counts is None and tags.get(_COMPRESSION, 1) == 1:
        counts = [n * row for n in in_strip]
    if counts is None or len(counts) != number:
        raise DataFileError(path, "does not say how long its strips are")
    for offset, length, n in zip(offsets, counts, in_strip, strict=True):
        if tags.get(_COMPRESSION, 1) == 1 and length != n * row:
            raise DataFileError(path, f"has a strip of {length} bytes, its size needs {n * row}")
        if offset + length > size:
            raise DataFileError(
                path,
                f"is truncated: its pixels reach to byte {offset + length}, the file has {size}",
                "copy it again",
            )
    return tuple(zip(offsets, counts, in_strip, strict=True))


def _decode(file: BufferedReader, page: _Page, target: np.ndarray[Any, Any], path: Path) -> None:
    """Fill `target` with the pixels of a page."""
    import numpy as np

    stored = np.dtype(page.dtype)
    first = page.strips[0][0]
    ends = np.cumsum([first] + [length for _, length, _ in page.strips])
    if page.compression == 1 and all(s[0] == end for s, end in zip(page.strips, ends[:-1], strict=True)):
        file.seek(first)
        if file.readinto(target.reshape(-1).view(np.uint8).data) < target.nbytes:
            raise DataFileError(path, "became shorter while it was read")
        if not stored.isnative:
            target.byteswap(inplace=True)
        return
    done = 0
    for offset, length, rows in page.strips:
        file.seek(offset)
        raw = file.read(length)
        expected = rows * page.shape[1] * stored.itemsize
        if page.compression in _DEFLATE:
            raw = _inflate(raw, expected, path)
        pixels = np.frombuffer(raw, stored, rows * page.shape[1]).reshape(rows, page.shape[1])
        if page.predictor == 2 and page.compression != 1:
            pixels = np.cumsum(pixels, axis=1, dtype=target.dtype)
        target[done : done + rows] = pixels
        done += rows


def _inflate(raw: bytes, expected: int, path: Path) -> bytes:
    inflater = zlib.decompressobj()
    try:
        data = inflater.decompress(raw, expected + 1)
    except zlib.error as error:
        raise DataFileError(path, f"has a damaged compressed strip ({error})", "copy it again") from error
    if len(data) != expected:
        more = "more" if len(data) > expected else "less"
        raise DataFileError(path, f"has a compressed strip with {more} than the {expected} bytes it claims")
    return data


def _part(file: BufferedReader, at: int, length: int, size: int, path: Path) -> bytes:
    if at + length > size:
        raise DataFileError(path, "is truncated: its directory lies beyond its end", "copy it again")
    file.seek(at)
    return file.read(length)


def _unpack(code: str, block: bytes, at: int, path: Path) -> int:
    try:
        return int(struct.unpack_from(code, block, at)[0])
    except struct.error as error:
        raise DataFileError(path, "is truncated within its first bytes", "copy it again") from error


FORMAT = Format(
    name="TIFF image",
    kind="images",
    suffixes=(".tif", ".tiff", ".mccd"),
    read=read,
    sniff=lambda head, path: head[:4] in _MAGIC,
    companions=companions,
    frames=count,
)
