"""Every other image format fabio knows: CBF, mar345, GE, R-AXIS, Bruker, Fit2D masks and more.

They are decoded in a process of its own (`sandbox`). Formats are told apart by fabio's own magic numbers,
as far as these are long enough to be certain; the short ones ("No", "<", "{") need the right suffix too.
Files that are compressed as a whole (``.gz``, ``.bz2``) are not read: unpack them first.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from beamline.readers import images, sandbox, sidecars, sizes
from beamline.readers.images import Header
from beamline.readers.registry import Format

if TYPE_CHECKING:
    import xarray as xr

_MAGIC: tuple[bytes, ...] = (
    b"###CBF: VERSION",
    b"FORMAT :100",
    b"FORMAT :        86",
    b"M\0\0\0A\0\0\0S\0\0\0K\0\0\0",
    b"R-AXIS",
    b"\x93NUMPY",
    b"\\$FFF_START",
    b"ESPERANTO FORMAT",
    b"ADEPT",
)
_MAR = (b"\xd2\x04\0\0", b"\0\0\x04\xd2")
_SUFFIXES = (
    *(".cbf", ".mar1200", ".mar1600", ".mar1800", ".mar2000", ".mar2300", ".mar2400", ".mar3000", ".mar3450"),
    *(".ge", ".ge1", ".ge2", ".ge3", ".ge4", ".ge5", ".img", ".osc", ".sfrm", ".gfrm", ".msk", ".f2d"),
    *(".esperanto", ".esper", ".npy", ".spe", ".mrc", ".dm3", ".pnm", ".pgm", ".mpa"),
)


def read(
    path: Path,
    *,
    frames: tuple[int, int] | None = None,
    timezone: str | None = None,
    stamp: str | None = None,
    timeout: float | None = None,
) -> xr.Dataset:
    """Read an image file through fabio.

    Parameters
    ----------
    path
        The file.
    frames
        Half-open range of frames to read; None is all.
    timezone, stamp
        As `beamline.readers.images.dataset`.
    timeout
        Limit in s for decoding; by default 3 s and 1 s more per MB.

    Raises
    ------
    DataFileError
        The file is damaged, or not an image.
    """
    sizes.check(path)
    total, counts, texts = sandbox.decode(path, frames, timeout)
    images.frame_range(path, frames, total)
    headers = [_header(text) for text in texts]
    return images.dataset(path, counts, headers, timezone=timezone, stamp=stamp)


def count(path: Path) -> int:
    """Return the number of frames."""
    sizes.check(path)
    return sandbox.count(path)


def _header(text: dict[str, str]) -> Header:
    """Return what a header says about the frame, for the formats whose words are known."""
    found: dict[str, Any] = {"text": text}
    if "_array_data.header_contents" in text:
        found = images.pilatus(text["_array_data.header_contents"])
    elif text.get("PROGRAM", "").startswith("scan345") or "PixelLength" in text:
        found |= _mar345(text)
    elif "ExposureTimeInMillisecs" in text:
        found["detector"] = "GE"
        milliseconds = float(text["ExposureTimeInMillisecs"])
        if milliseconds > 0:
            found["exposure"] = milliseconds * 1e-3
    return Header(**found)


def _mar345(text: dict[str, str]) -> dict[str, Any]:
    """Return what a mar345 header says: times in s, pixels in mm; its date may be any moment."""
    found: dict[str, Any] = {"detector": "mar345"}
    sizes = [float(text.get(key, "0")) for key in ("PixelHeight", "PixelLength")]
    if min(sizes) > 0:
        found["pixel_size"] = (sizes[0] * 1e-3, sizes[1] * 1e-3)
    if text.get("MODE", "").upper() == "TIME" and float(text.get("TIME", "0")) > 0:
        found["exposure"] = float(text["TIME"])
    date = images.parse_stamp(text.get("DATE", ""), "%a %b %d %H:%M:%S %Y")
    if date is not None:
        found["stamp"] = date
    return found


def _sniff(head: bytes, path: Path) -> bool:
    return head.startswith(_MAGIC) or (head.startswith(_MAR) and b"mar research" in head[:256])


FORMAT = Format(
    name="image (fabio)",
    kind="images",
    suffixes=_SUFFIXES,
    read=read,
    sniff=_sniff,
    companions=sidecars.companions,
    frames=count,
)
