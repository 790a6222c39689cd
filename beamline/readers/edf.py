"""EDF frames (ESRF Data Format), read from the header blocks up.

fabio fills a truncated EDF with zeros and keeps its shape; so every header block is walked here and the
binary block it announces is checked to lie inside the file before a pixel is read. A file may hold many
frames, and a general block first whose values stand for all of them. Compressed blocks are decoded by fabio
in a process of its own (`sandbox`).

Reference: P. Boesecke, EDF specification (SAXS keywords), as implemented in fabio's edfimage.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from beamline.errors import DataFileError
from beamline.readers import images, sandbox, sidecars
from beamline.readers.images import Header
from beamline.readers.registry import Format

if TYPE_CHECKING:
    import xarray as xr

_MAX_HEADER = 2**20
_END = re.compile(rb"\}\r?\n")
_KEYS = re.compile(rb"(?i)(EDF_|HeaderID|Dim_1|ByteOrder|DataType)")
_GE = re.compile(r"\.ge\d*$", re.IGNORECASE)

_TYPES = {
    "signedbyte": "i1",
    "unsignedbyte": "u1",
    "signedshort": "i2",
    "unsignedshort": "u2",
    "unsigned16": "u2",
    "signedinteger": "i4",
    "unsignedinteger": "u4",
    "signedlong": "i4",
    "unsignedlong": "u4",
    "signed64": "i8",
    "unsigned64": "u8",
    "float": "f4",
    "floatvalue": "f4",
    "floatieee32": "f4",
    "real": "f4",
    "double": "f8",
    "doublevalue": "f8",
    "doubleieee64": "f8",
}
_ORDERS = {"lowbytefirst": "<", "highbytefirst": ">"}
_EXPOSURES = ("acq_expo_time", "ExposureTime", "exposure_time", "Exposure_time")
_STAMPS = ("Time", "time", "Date", "date", "time_of_acquisition")


@dataclass(frozen=True)
class _Block:
    """One frame: its header and where its pixels lie; `compressed` where they cannot be read here."""

    text: dict[str, str]
    shape: tuple[int, int]
    dtype: str
    offset: int
    compressed: bool


def read(
    path: Path,
    *,
    frames: tuple[int, int] | None = None,
    timezone: str | None = None,
    stamp: str | None = None,
    timeout: float | None = None,
) -> xr.Dataset:
    """Read an EDF file.

    Parameters
    ----------
    path
        The file.
    frames
        Half-open range of frames to read; None is all.
    timezone, stamp
        As `beamline.readers.images.dataset`.
    timeout
        Limit in s for compressed frames, which are decoded in a process of its own.

    Raises
    ------
    DataFileError
        The file is damaged.
    """
    import numpy as np

    with open(path, "rb") as file:
        blocks = _walk(file, path)
        chosen = [blocks[i] for i in images.frame_range(path, frames, len(blocks))]
        for index, block in enumerate(chosen):
            images.check_shape(path, index, block.shape, chosen[0].shape)
            if block.dtype != chosen[0].dtype:
                raise DataFileError(path, f"frame {index} has other numbers than the first")
        if any(block.compressed for block in chosen):
            _, counts, _ = sandbox.decode(path, frames, timeout)
            if counts.shape != (len(chosen), *chosen[0].shape):
                raise DataFileError(
                    path, f"decodes to shape {counts.shape}, its header claims {chosen[0].shape}"
                )
        else:
            stored = np.dtype(chosen[0].dtype)
            counts = np.empty((len(chosen), *chosen[0].shape), stored.newbyteorder("="))
            for target, block in zip(counts, chosen, strict=True):
                file.seek(block.offset)
                pixels = np.fromfile(file, stored, target.size)
                if pixels.size < target.size:
                    raise DataFileError(path, "became shorter while it was read")
                target[:] = pixels.reshape(block.shape)
    headers = [_header(block) for block in chosen]
    return images.dataset(path, counts, headers, timezone=timezone, stamp=stamp)


def count(path: Path) -> int:
    """Return the number of frames."""
    with open(path, "rb") as file:
        return len(_walk(file, path))


def _walk(file: BinaryIO, path: Path) -> list[_Block]:
    size = os.fstat(file.fileno()).st_size
    general: dict[str, str] = {}
    blocks: list[_Block] = []
    at = 0
    while True:
        file.seek(at)
        start = file.read(512)
        if not start.strip(b" \t\r\n\0"):
            if at + len(start) < size and blocks and start:
                raise DataFileError(path, f"holds something that is no frame at byte {at}")
            return blocks
        text, after = _text(file, at, path)
        values = {key.lower(): value for key, value in (general | text).items()}
        if "edf_dataformatversion" in (key.lower() for key in text):
            general = {k: v for k, v in text.items() if not k.upper().startswith("EDF_")}
            at = after + _integer(path, values, "edf_binarysize", 0)
            if at > size:
                raise DataFileError(path, "is truncated within its general block", "copy it again")
            continue
        block, stored = _block(path, general | text, values, after)
        if after + stored > size:
            raise DataFileError(
                path,
                f"is truncated: frame {len(blocks)} reaches to byte {after + stored}, the file has {size}",
                "copy it again",
            )
        blocks.append(block)
        at = after + stored


def _text(file: BinaryIO, at: int, path: Path) -> tuple[dict[str, str], int]:
    """Return the pairs of the header at an offset, and the offset of what follows it."""
    file.seek(at)
    raw = file.read(_MAX_HEADER)
    begin = len(raw) - len(raw.lstrip(b" \t\r\n\0"))
    end = _END.search(raw, begin)
    if raw[begin : begin + 1] != b"{" or end is None:
        raise DataFileError(path, f"has no complete header at byte {at}", "is the file complete?")
    pairs: dict[str, str] = {}
    for line in raw[begin + 1 : end.start()].split(b";"):
        key, equals, value = line.partition(b"=")
        if equals:
            name = key.strip(b" \t\r\n\0").decode("utf-8", "replace")
            pairs[name] = value.strip(b" \t\r\n\0").decode("utf-8", "replace")
    return pairs, at + end.end()


def _block(path: Path, text: dict[str, str], values: dict[str, str], offset: int) -> tuple[_Block, int]:
    """Return the frame a header announces, and the length of its binary block."""
    if "edf_binaryfilename" in values:
        raise DataFileError(path, "keeps its pixels in another file", "read that file")
    width, height = (_integer(path, values, f"dim_{i}") for i in (1, 2))
    if values.get("dim_3", "1") != "1":
        raise DataFileError(path, "has frames of three dimensions", "save it with one frame per header")
    kind = _TYPES.get(values.get("datatype", "").lower())
    if kind is None:
        raise DataFileError(path, f"has pixels of type {values.get('datatype')!r}")
    order = _ORDERS.get(values.get("byteorder", "").lower(), "|" if kind[1] == "1" else None)
    if order is None:
        raise DataFileError(path, "does not state its byte order (ByteOrder)")
    needed = width * height * int(kind[1])
    if needed == 0:
        raise DataFileError(path, f"claims an image of {width}x{height} pixels")
    stored = _integer(path, values, "edf_binarysize", _integer(path, values, "size", -1))
    packed = values.get("compression", values.get("compressionscheme", "none")).lower()
    compressed = not packed.startswith("no")
    if compressed:
        if stored < 0 or needed > images.MAX_FRAME_BYTES:
            raise DataFileError(path, f"claims {needed} bytes in a compressed block of {stored} bytes")
    elif stored < 0:
        stored = needed
    elif stored < needed:
        raise DataFileError(path, f"claims {width}x{height} pixels of {kind[1]} bytes in {stored} bytes")
    return _Block(text, (height, width), f"{order}{kind}", offset, compressed), stored


def _integer(path: Path, values: dict[str, str], key: str, default: int | None = None) -> int:
    if key not in values and default is not None:
        return default
    try:
        # some programs write a float
        number = int(float(values[key]))
    except (KeyError, ValueError, OverflowError) as error:
        raise DataFileError(path, f"states no usable {key.capitalize()}: {values.get(key)!r}") from error
    if number < 0:
        raise DataFileError(path, f"states {key.capitalize()} = {number}")
    return number


def _header(block: _Block) -> Header:
    """Return what a header says about the frame.

    EDF fixes no keywords for exposure and time; those of Lima and of the SAXS beamlines are understood. None
    says whether its stamp is the start or the end of the exposure.
    """
    text = block.text
    found: dict[str, Any] = {"text": text, "detector": text.get("Detector", text.get("detector", ""))}
    for key in _EXPOSURES:
        words = text.get(key, "").split()
        if words and words[1:] in ([], ["s"]):
            try:
                found["exposure"] = float(words[0])
                break
            except ValueError:
                continue
    sizes = [text.get(f"PSize_{i}", "") for i in (2, 1)]
    if all(re.fullmatch(r"[0-9.]+[eE][-+]?\d+|[0-9.]+", s) for s in sizes):
        found["pixel_size"] = (float(sizes[0]), float(sizes[1]))
    for key in _STAMPS:
        moment = images.parse_stamp(text.get(key, ""), "%a %b %d %H:%M:%S %Y", "%d-%b-%Y")
        if moment is not None:
            found["stamp"] = moment
            break
    return Header(**found)


def _sniff(head: bytes, path: Path) -> bool:
    # GE detectors at the APS have a header of this look; d*TREK starts with HEADER_BYTES
    opened = head.lstrip(b"\r\n")
    is_edf = opened.startswith(b"{") and not opened[1:].lstrip().startswith(b"HEADER_BYTES")
    return is_edf and _KEYS.search(head) is not None and _GE.search(path.name) is None


FORMAT = Format(
    name="EDF image",
    kind="images",
    suffixes=(".edf", ".cor"),
    read=read,
    sniff=_sniff,
    companions=sidecars.companions,
    frames=count,
)
