"""Images of FITS files, with the energies of their frames where a table in the file, or beside it, has them.

The frames are the one image of two or three axes, or several images of one size, each a frame: the
detectors of older ALS beamlines leave the first part of the file empty. A binary table in the same file
with a column of energies and a row per frame belongs to them; so does a text beside the file
(`beamline.readers.energy_tables`).

What the headers claim is compared with the size of the file before anything is read, since astropy fills what
is missing. Reference: FITS standard 4.0 (A&A 524 (2010) A42; 2018).
"""

from __future__ import annotations

import math
import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from beamline.errors import DataFileError, RedoxlightError
from beamline.readers import energy_tables, images
from beamline.readers.images import Header
from beamline.readers.registry import Format

if TYPE_CHECKING:
    import numpy as np
    import xarray as xr

_MAGIC = b"SIMPLE  ="
_BLOCK = 2880
_CARDS = 100_000
_ENERGY = re.compile(r"(?i)^(excitation|photon|beamline|mono|bl)?[ _]*energy([ _]*ev)?$")
_EXPOSURES = ("EXPTIME", "EXPOSURE")


def read(
    path: Path,
    *,
    frames: tuple[int, int] | None = None,
    timezone: str | None = None,
    stamp: str | None = None,
) -> xr.Dataset:
    """Read the images of a FITS file.

    Parameters
    ----------
    path
        The file.
    frames
        Half-open range of frames to read; None is all.
    timezone, stamp
        As `beamline.readers.images.dataset`.

    Raises
    ------
    DataFileError
        The file is damaged or shorter than its headers claim, has no image, or images of different size.
    """
    import numpy as np

    with _opened(path) as hdus:
        parts = _images(path, hdus)
        total = sum(_frames(part) for part in parts)
        chosen = images.frame_range(path, frames, total)
        stack = np.concatenate([np.asarray(part.data).reshape(-1, *part.shape[-2:]) for part in parts])
        counts = stack[chosen.start : chosen.stop]
        if counts.dtype.kind not in "iuf":
            raise DataFileError(path, f"has pixels of type {counts.dtype}")
        counts = counts.astype(counts.dtype.newbyteorder("="), copy=False)
        headers = [_header(part) for part in parts for _ in range(_frames(part))]
        energies = _energies(path, hdus, total)
    ds = images.dataset(path, counts, headers[chosen.start : chosen.stop], timezone=timezone, stamp=stamp)
    if energies is not None:
        ds = ds.assign_coords({energy_tables.ENERGY: ("frame", energies[chosen.start : chosen.stop])})
    return energy_tables.complete(path, ds, chosen, total)


def count(path: Path) -> int:
    """Return the number of frames."""
    with _opened(path) as hdus:
        return sum(_frames(part) for part in _images(path, hdus))


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Open a file; what astropy would repair, and warn of, is damage, and its errors take many lines."""
    from astropy.io import fits

    _check(path)
    try:
        # astropy leaves a file open that it cannot read: it is given an open one.
        with warnings.catch_warnings(), open(path, "rb") as file:
            warnings.simplefilter("error")
            with fits.open(file, memmap=False, lazy_load_hdus=False) as hdus:
                yield hdus
    except RedoxlightError:
        raise
    except (Exception, Warning) as error:
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise DataFileError(path, f"cannot be read as FITS ({said})", "is it complete?") from error


def _check(path: Path) -> None:
    """Walk through the parts of a file and compare what their headers claim with its size.

    astropy walks too, but for ever where a size is negative, and fills what is missing.

    Raises
    ------
    DataFileError
        A header has no end, lacks or misstates the size of its part, or claims more than there is.
    """
    size, at, part = os.stat(path).st_size, 0, 0
    if size % _BLOCK:
        raise DataFileError(
            path, f"is truncated: FITS files have blocks of {_BLOCK} bytes, it has {size}", "copy it again"
        )
    with open(path, "rb") as file:
        while at < size:
            file.seek(at)
            cards: dict[bytes, bytes] = {}
            while b"END" not in cards:
                block = file.read(_BLOCK)
                if len(block) < _BLOCK or not block.isascii() or len(cards) > _CARDS:
                    raise DataFileError(path, f"has no end of the header of part {part}", "is it complete?")
                for card in (block[i : i + 80] for i in range(0, _BLOCK, 80)):
                    cards.setdefault(card[:8].rstrip(), card[10:].partition(b"/")[0].strip())
                    if card[:8].rstrip() == b"END":
                        break
            at = file.tell() + _span(path, part, cards)
            if at > size:
                raise DataFileError(
                    path, f"is truncated: part {part} ends at byte {at}, it has {size}", "copy it again"
                )
            part += 1


def _span(path: Path, part: int, cards: dict[bytes, bytes]) -> int:
    """Return how many bytes the data of a part take, whole blocks."""

    def whole(key: bytes, default: int | None = None) -> int:
        try:
            value = int(cards[key]) if key in cards or default is None else default
        except (KeyError, ValueError):
            value = -1
        if value < 0 or value > 2**48:
            raise DataFileError(path, f"has no proper {key.decode()} in the header of part {part}")
        return value

    bits = cards.get(b"BITPIX", b"")
    if bits not in (b"8", b"16", b"32", b"64", b"-32", b"-64"):
        raise DataFileError(path, f"has no proper BITPIX in the header of part {part}")
    axes = whole(b"NAXIS")
    if axes > 999:
        raise DataFileError(path, f"has {axes} axes in part {part}")
    elements = math.prod(whole(b"NAXIS%d" % i) for i in range(1, axes + 1)) if axes else 0
    number = abs(int(bits)) // 8 * whole(b"GCOUNT", 1) * (whole(b"PCOUNT", 0) + elements)
    return -(-number // _BLOCK) * _BLOCK


def _images(path: Path, hdus: Any) -> list[Any]:
    """Return the parts of a file that hold frames."""
    compressed = [part for part in hdus if type(part).__name__ == "CompImageHDU"]
    if compressed:
        raise DataFileError(path, "holds a compressed image", "decompress it with funpack")
    found = [part for part in hdus if part.is_image and len(part.shape) in (2, 3) and 0 not in part.shape]
    if not found:
        raise DataFileError(path, "has no image of two or three axes")
    if len({part.shape[-2:] for part in found}) > 1:
        sizes = ", ".join("x".join(map(str, part.shape)) for part in found)
        raise DataFileError(path, f"has images of different size ({sizes})", "save the frames alone")
    return found


def _frames(part: Any) -> int:
    return int(part.shape[0]) if len(part.shape) == 3 else 1


def _header(part: Any) -> Header:
    """Return what the header of a part says: exposure (s), start (DATE-OBS) and the detector."""
    text = {str(k): str(v) for k, v in part.header.items() if k and k not in ("COMMENT", "HISTORY")}
    exposure = next((part.header[k] for k in _EXPOSURES if isinstance(part.header.get(k), int | float)), None)
    if exposure is not None and not 0 <= float(exposure) < float("inf"):
        exposure = None
    begin = part.header.get("DATE-OBS")
    stamp = images.parse_stamp(begin) if isinstance(begin, str) else None
    return Header(
        text=text,
        exposure=None if exposure is None else float(exposure),
        stamp=stamp,
        moment="start" if stamp is not None else None,  # the standard says so where nothing else is stated
        detector=str(part.header.get("INSTRUME", "")),
    )


def _energies(path: Path, hdus: Any, total: int) -> np.ndarray[Any, Any] | None:
    """Return the energies (eV) of a binary table with a row per frame; None where there is none."""
    import numpy as np

    found = []
    for part in hdus:
        if not part.is_image and hasattr(part, "columns"):
            named = (column for column in part.columns if _ENERGY.match(column.name or ""))
            found += [(column, part.data[column.name]) for column in named]
    if not found:
        return None
    if len(found) > 1:
        names = ", ".join(column.name for column, _ in found)
        raise DataFileError(
            path, f"has several columns of energies ({names})", "keep one, or write a table beside it"
        )
    column, values = found[0]
    energies = np.asarray(values)
    if energies.dtype.kind not in "iuf" or energies.ndim != 1:
        raise DataFileError(path, f"has energies of type {energies.dtype} and shape {energies.shape}")
    if energies.size != total:
        raise DataFileError(path, f"has {energies.size} energies for {total} frames")
    energies = energies.astype(float)
    if str(column.unit or "eV").lower() == "kev":
        energies = energies * 1e3
    energy_tables.check_energies(path, energies)
    return energies


FORMAT = Format(
    name="FITS image",
    kind="images",
    suffixes=(".fits", ".fit", ".fts"),
    read=read,
    sniff=lambda head, path: head.startswith(_MAGIC),
    companions=energy_tables.companions,
    frames=count,
)
