"""What the tags of a TIFF say about a frame, beside its pixels.

Understood are the comment header of Pilatus detectors (camserver), the tags of EPICS areaDetector from 65000
on, whose time counts from 1990-01-01 UTC, and the header of a MarCCD behind tag 34710.

References: TIFF 6.0 (Adobe, 1992); areaDetector, NDFileTIFF; MarCCD manual, the C structure of its header.
"""

from __future__ import annotations

import struct
from datetime import UTC, datetime, timedelta
from typing import Any, BinaryIO

from beamline.readers import images
from beamline.readers.images import Header

_NAMES = {270: "ImageDescription", 271: "Make", 272: "Model", 305: "Software", 306: "DateTime"}
_MARCCD, _EPICS, _EPICS_SECONDS, _EPICS_NANOSECONDS, _EPICS_ATTRIBUTES = 34710, 65000, 65002, 65003, 65010
_EPICS_EPOCH = datetime(1990, 1, 1, tzinfo=UTC)


def speaks(tag: int) -> bool:
    """Tell whether a tag is one of those `header` understands."""
    return tag in _NAMES or tag == _MARCCD or tag >= _EPICS


def header(file: BinaryIO, tags: dict[int, Any], order: str) -> Header:
    """Return what the tags say about a frame; `order` is the byte order of the file ("<" or ">")."""
    named = {
        name: str(tags[tag]) for tag, name in _NAMES.items() if tags.get(tag) not in (None, "", "Unknown")
    }
    description = named.get("ImageDescription", "")
    if description.startswith("# "):  # camserver puts the header of a Pilatus here
        del named["ImageDescription"]
        found = images.pilatus(description)
        found["text"] = named | found["text"]
    else:
        found = {"text": named}
    if not found.get("detector"):
        found["detector"] = named.get("Model", "")
    if "stamp" not in found and "DateTime" in named:
        date = images.parse_stamp(named["DateTime"], "%Y:%m:%d %H:%M:%S")
        if date is not None:
            # camserver writes the start of the exposure; TIFF itself does not say
            moment = "start" if found["detector"].upper().startswith("PILATUS") else None
            found |= {"stamp": date, "moment": moment}
    if _MARCCD in tags:
        found |= _marccd(file, int(tags[_MARCCD]), order)
    found = _epics(tags, found)
    return Header(**found)


def _epics(tags: dict[int, Any], found: dict[str, Any]) -> dict[str, Any]:
    """Add what EPICS areaDetector states: a UTC stamp, and attributes as "name:value"."""
    attributes = dict(
        value.split(":", 1)
        for tag, value in tags.items()
        if tag >= _EPICS_ATTRIBUTES and isinstance(value, str) and ":" in value
    )
    seconds = _float(tags.get(_EPICS_SECONDS))
    if seconds:
        seconds += (_float(tags.get(_EPICS_NANOSECONDS)) or 0.0) * 1e-9
    else:
        seconds = _float(tags.get(_EPICS))
    if seconds and 0 < seconds < 2**32:
        found |= {"stamp": _EPICS_EPOCH + timedelta(seconds=seconds), "moment": None}
    exposure = _float(attributes.get("ExposureTime"))
    if exposure is not None:
        found["exposure"] = exposure
    found["text"] = found["text"] | attributes
    return found


def _marccd(file: BinaryIO, at: int, order: str) -> dict[str, Any]:
    """Return what the header of a MarCCD states: exposure in ms, pixels in nm, the time of acquisition."""
    file.seek(at)
    block = file.read(3072)
    if len(block) < 3072:
        return {}
    (exposure,) = struct.unpack_from(f"{order}i", block, 640 + 16)
    width, height = struct.unpack_from(f"{order}2i", block, 768 + 4)
    found: dict[str, Any] = {"detector": "MarCCD"}
    if exposure > 0:
        found["exposure"] = exposure * 1e-3
    if width > 0 and height > 0:
        found["pixel_size"] = (height * 1e-9, width * 1e-9)
    acquired = block[1024 + 320 : 1024 + 352].split(b"\0")[0].decode("ascii", "replace")
    stamp = images.parse_stamp(acquired, "%m%d%H%M%Y.%S")
    if stamp is not None:
        found |= {"stamp": stamp, "moment": None}
    return found


def _float(value: Any) -> float | None:
    try:
        return None if value is None else float(value)
    except ValueError:
        return None
