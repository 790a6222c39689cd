"""Detector frames as a Dataset: what every image format shares.

A reader of an image format decodes the pixels and fills one `Header` per frame; `dataset` makes the Dataset
of kind ``images`` of them. Rows stay in the order of the file (row 0 is the first row stored) and numbers in
the type of the file, so that a geometry determined elsewhere for the same file order stays valid.

Clocks. Most detectors write local time and do not say of which zone, and a stamp may stand for the start or
the end of the exposure. A stamp becomes ``time`` (UTC, mid-exposure) only if both are known, from the file or
from the options ``timezone`` and ``stamp``; else it is kept, as it is written, as ``local_time`` (no zone) or
``timestamp`` (UTC, but which moment of the exposure is not stated). A time zone says where the beamline is,
so it may be given for files that have no clock or state their own zone; it makes no difference to them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from beamline.errors import ConfigError, DataFileError
from beamline.readers import sidecars
from beamline.readers.stamps import zone_of

if TYPE_CHECKING:
    from datetime import tzinfo

    import numpy as np
    import xarray as xr

MAX_FRAME_BYTES = 256 * 2**20
"""Largest frame a compressed file may claim (8192 x 8192 pixels of 4 bytes)."""

MOMENTS = {"start": 0.5, "middle": 0.0, "end": -0.5}
"""What a stamp stands for, and how many exposures later the middle is."""

_PHOTON_COUNTERS = re.compile(r"pilatus|eiger", re.IGNORECASE)


@dataclass(frozen=True)
class Header:
    """What the detector, or a file beside, says about one frame.

    Attributes
    ----------
    text
        Everything the header holds, as text.
    exposure
        Time (s) in which the signal of the frame came: that of all exposures of a sum, of one exposure of a
        mean; None where it is not stated.
    summed, averaged
        Exposures the frame is the sum or the mean of; None where it is not stated.
    stamp
        The detector's clock; without a zone where the file states none.
    moment
        What the stamp stands for (a key of `MOMENTS`); None where nobody says.
    detector
        Name of the detector; "" where it is not stated.
    pixel_size
        Height and width of a pixel (y, x) in m.
    photons
        Whether one count is one photon; by default told by the name of the detector.
    """

    text: Mapping[str, str] = field(default_factory=dict)
    exposure: float | None = None
    summed: int | None = None
    averaged: int | None = None
    stamp: datetime | None = None
    moment: str | None = None
    detector: str = ""
    pixel_size: tuple[float, float] | None = None
    photons: bool = False


def dataset(
    path: Path,
    counts: np.ndarray[Any, Any],
    headers: Sequence[Header],
    *,
    timezone: str | None = None,
    stamp: str | None = None,
) -> xr.Dataset:
    """Return frames as a Dataset of kind ``images``.

    Parameters
    ----------
    path
        The file; sidecars beside it are read too.
    counts
        Pixels, shape (frame, y, x).
    headers
        One per frame.
    timezone
        Zone of a clock that states none, such as ``"America/Chicago"``; without effect on other files.
    stamp
        What the clock's stamp stands for: ``"start"``, ``"middle"`` or ``"end"`` of the exposure. Where the
        format says so itself, it need not be given.

    Raises
    ------
    ConfigError
        The zone or the moment does not exist.
    DataFileError
        `stamp` asks for ``time`` and it cannot be known, or the clock shows an hour that summer time makes
        ambiguous.
    """
    import xarray as xr

    headers = [sidecars.complete(path, header) for header in headers]
    first = headers[0]
    photons = first.photons or bool(_PHOTON_COUNTERS.search(first.detector))
    coords: dict[str, Any] = {"file": ("frame", [path.name] * len(headers))}
    if any(header.exposure is not None for header in headers):
        exposures = [float("nan") if h.exposure is None else h.exposure for h in headers]
        coords["exposure"] = ("frame", exposures)
    if any(header.averaged for header in headers):
        coords["averaged"] = ("frame", [header.averaged or 1 for header in headers])
    coords |= _clock(path, headers, timezone, stamp)
    ds = xr.Dataset(
        {"counts": (("frame", "y", "x"), counts, {"units": "count" if photons else "ADU"})}, coords=coords
    )
    made_of = [key for key in ("summed", "averaged") if (getattr(first, key) or 1) > 1]
    if made_of:
        ds["counts"].attrs["exposures"] = ", ".join(made_of)
    if first.detector:
        ds.attrs["detector"] = first.detector
    if first.pixel_size is not None:
        ds.attrs["y_pixel_size"], ds.attrs["x_pixel_size"] = first.pixel_size
    if first.text:
        ds.attrs["header"] = json.dumps(dict(first.text), ensure_ascii=False)
    ds.attrs |= sidecars.attributes(path)
    return ds


def frame_range(path: Path, frames: tuple[int, int] | None, total: int) -> range:
    """Return the indices of the frames asked for; None is all.

    Raises
    ------
    DataFileError
        The file does not have them.
    """
    if total == 0:
        raise DataFileError(path, "holds no frame")
    start, stop = (0, total) if frames is None else frames
    if not 0 <= start < stop <= total:
        raise DataFileError(path, f"has frames 0 to {total}, not {start} to {stop}", "frames=(start, stop)")
    return range(start, stop)


def check_shape(path: Path, index: int, shape: Sequence[int], first: Sequence[int]) -> None:
    """Refuse a file whose frames differ in size.

    Raises
    ------
    DataFileError
        They do.
    """
    if tuple(shape) != tuple(first):
        raise DataFileError(
            path,
            f"frame {index} has {'x'.join(map(str, shape))} pixels, the first {'x'.join(map(str, first))}",
        )


def pilatus(text: str) -> dict[str, Any]:
    """Return what the comment header of a Pilatus states, as arguments of `Header`.

    The lines are ``# keyword values units``; the stamp stands alone (``# 2017-06-26T02:54:23.347``) and is
    the start of the exposure. Reference: DECTRIS, PILATUS CBF header specification 1.4.
    """
    found: dict[str, str] = {}
    stamp = None
    for line in text.replace("\r", "\n").split("\n"):
        content = line.strip().lstrip("#").strip(" \0")
        moment = _pilatus_stamp(content)
        if moment is not None:
            stamp = moment
            continue
        pair = re.split(r"[\s:=,()]+", content, maxsplit=1)
        if len(pair) == 2:
            found[pair[0]] = pair[1].strip()
    arguments: dict[str, Any] = {"text": found, "detector": found.get("Detector", "")}
    numbers = {key: _numbers(value) for key, value in found.items()}
    if len(numbers.get("Pixel_size", ())) >= 2:
        x, y = numbers["Pixel_size"][:2]
        arguments["pixel_size"] = (y, x)
    if numbers.get("Exposure_time"):
        arguments["exposure"] = numbers["Exposure_time"][0]
    if stamp is not None:
        arguments |= {"stamp": stamp, "moment": "start"}
    return arguments


def parse_stamp(text: str, *formats: str) -> datetime | None:
    """Return the time a header states, in ISO 8601 or one of `formats`; None if it is not one."""
    text = text.strip(" \0\t\r\n")
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        pass
    for pattern in formats:
        try:
            return datetime.strptime(text, pattern)  # noqa: DTZ007 - the zone is what the header lacks
        except ValueError:
            continue
    return None


def _pilatus_stamp(content: str) -> datetime | None:
    if not re.match(r"\d{4}[-/:]", content):
        return None
    formats = ("%Y/%b/%d %H:%M:%S.%f", "%Y-%b-%dT%H:%M:%S.%f", "%Y/%b/%d %H:%M:%S", "%Y-%b-%dT%H:%M:%S")
    return parse_stamp(content, *formats)


def _numbers(text: str) -> list[float]:
    """Return the numbers among the words of a text ("172e-6 m x 172e-6 m")."""
    found = []
    for word in re.split(r"[\s,()]+", text):
        try:
            found.append(float(word))
        except ValueError:
            continue
    return found


def _clock(
    path: Path, headers: Sequence[Header], timezone: str | None, stamp: str | None
) -> dict[str, tuple[str, np.ndarray[Any, Any]] | tuple[str, np.ndarray[Any, Any], dict[str, str]]]:
    """Return the coordinate the stamps make: time, timestamp, local_time or none."""
    import numpy as np

    if stamp is not None and stamp not in MOMENTS:
        raise ConfigError(
            f"stamp={stamp!r}", "is not a moment of an exposure", f"one of {', '.join(MOMENTS)}"
        )
    zone = zone_of(timezone) if timezone is not None else None
    stamps = [h.stamp for h in headers if h.stamp is not None]
    if len(stamps) < len(headers):
        if stamp is not None:
            raise DataFileError(path, "has no clock", "leave stamp out")
        return {}
    aware = [_in_zone(path, s, zone) for s in stamps]
    if any(s.tzinfo is None for s in aware):
        if stamp is not None:
            raise DataFileError(path, "does not state the zone of its clock", 'give timezone="Europe/Paris"')
        label = {"long_name": "local time of the detector, zone not stated"}
        return {
            "local_time": (
                "frame",
                np.array([s.replace(tzinfo=None) for s in aware], "datetime64[ns]"),
                label,
            )
        }
    utc = [s.astimezone(UTC).replace(tzinfo=None) for s in aware]
    shifts = [_to_middle(h, stamp) for h in headers]
    if any(shift is None for shift in shifts):
        if stamp is not None:
            raise DataFileError(
                path,
                "states no exposure time to get from its stamp to mid-exposure"
                if stamp or headers[0].moment
                else "does not state whether its stamp is the start or the end of the exposure",
                'give stamp="start" or "end", or "middle" to take the stamp as it is',
            )
        label = {"long_name": "time stamp of the detector (UTC), moment of the exposure not stated"}
        return {"timestamp": ("frame", np.array(utc, "datetime64[ns]"), label)}
    middle = [s + shift for s, shift in zip(utc, shifts, strict=True) if shift is not None]
    return {"time": ("frame", np.array(middle, "datetime64[ns]"))}


def _to_middle(header: Header, stamp: str | None) -> timedelta | None:
    """Return how long after the stamp the middle of the exposure is; None where that cannot be known."""
    moment = stamp or header.moment
    if moment is None:
        return None
    if moment == "middle":
        return timedelta(0)
    if header.exposure is None:
        return None
    return timedelta(seconds=MOMENTS[moment] * header.exposure * (header.averaged or 1))


def _in_zone(path: Path, stamp: datetime, zone: tzinfo | None) -> datetime:
    """Give a naive stamp its zone; the hour that summer time repeats or skips cannot be told."""
    if stamp.tzinfo is not None or zone is None:
        return stamp
    first, second = (stamp.replace(tzinfo=zone, fold=fold).utcoffset() for fold in (0, 1))
    if first != second:
        raise DataFileError(
            path,
            f"its clock shows {stamp}, which the change of summer time in {zone} makes ambiguous",
            'give the offset instead, such as timezone="-06:00"',
        )
    return stamp.replace(tzinfo=zone)
