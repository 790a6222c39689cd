"""What lies beside an image and belongs to it: ``.metadata`` and ``.imctrl``.

QXRD and the scripts of APS beamlines write ``<image>.tif.metadata`` (or ``<stem>.metadata``): lines
``key=value`` in sections. Of these, ``exposureTime`` (s, of one exposure), ``summedExposures``,
``averagedExposures`` (the frame is the sum or the mean of so many), ``timeStamp`` (s since 1970, UTC),
``dateString`` (local time) and ``detectorXPixelSize``/``detectorYPixelSize`` (um) are understood;
QXRD takes the time when the frame is complete, so the stamp is the end of the exposure (qxrd,
source/qxrdacquisition.cpp, processImage). GSAS-II reads the same file (GSASII/imports/G2img_1TIF.py).

``<stem>.imctrl`` holds the integration controls of GSAS-II, ``key:value``. They are kept as they are and
never used as a geometry unless somebody asks for it: the controls of one image are often those of another.
"""

from __future__ import annotations

import ast
import json
import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from beamline.errors import DataFileError
from beamline.readers import text

if TYPE_CHECKING:
    from beamline.readers.images import Header

_MAX_BYTES = 2**20


def companions(path: Path) -> list[Path]:
    """Return the sidecars of an image that exist."""
    beside = (_metadata_file(path), path.with_suffix(".imctrl"))
    return [file for file in beside if file is not None and file.is_file()]


def complete(path: Path, header: Header) -> Header:
    """Return the header of a frame, completed by what the ``.metadata`` file states.

    Raises
    ------
    DataFileError
        The file is damaged.
    """
    file = _metadata_file(path)
    if file is None:
        return header
    found = read_metadata(file)
    changes: dict[str, Any] = {}
    exposure = _number(file, found, "exposureTime")
    if exposure is not None:
        # The signal of a mean is that of one exposure: signal over exposure is a rate either way.
        changes["exposure"] = exposure * (_count(file, found, "summedExposures") or 1)
    for key in ("summed", "averaged"):
        number = _count(file, found, f"{key}Exposures")
        if number:
            changes[key] = number
    stamp = _stamp(file, found)
    if stamp is not None:
        changes |= {"stamp": stamp, "moment": "end"}
    height, width = (_number(file, found, f"detector{axis}PixelSize") for axis in "YX")
    if height and width and header.pixel_size is None:
        changes["pixel_size"] = (height * 1e-6, width * 1e-6)
    return replace(header, **changes)


def attributes(path: Path) -> dict[str, str]:
    """Return the sidecars as attributes: ``metadata`` and ``imctrl``, JSON texts.

    Raises
    ------
    DataFileError
        A sidecar is damaged.
    """
    attrs = {}
    for file in companions(path):
        values: dict[str, Any]
        if file.suffix == ".imctrl":
            name, values = "imctrl", read_imctrl(file)
        else:
            name, values = "metadata", dict(read_metadata(file))
        attrs[name] = json.dumps(values, ensure_ascii=False)
    return attrs


def read_metadata(file: Path) -> dict[str, str]:
    """Return the pairs of a ``.metadata`` file, as text.

    Raises
    ------
    DataFileError
        It is not a text of such lines.
    """
    pairs = {}
    for line in text.decode(file, limit=_MAX_BYTES).splitlines():
        key, equals, value = line.partition("=")
        # a section repeats keys of the first one ("size"); the first value is the image's own
        if equals and key.strip() not in pairs:
            pairs[key.strip()] = value.strip()
    if not pairs:
        raise DataFileError(file, "holds no line key=value", "remove the file if it is not the image's own")
    return pairs


def read_imctrl(file: Path) -> dict[str, Any]:
    """Return the integration controls of a GSAS-II ``.imctrl`` file.

    Values are Python literals (newer versions write ``np.float64(1.0)``) or plain text.

    Raises
    ------
    DataFileError
        It is not a text of lines ``key:value``.
    """
    controls: dict[str, Any] = {}
    for line in text.decode(file, limit=_MAX_BYTES).splitlines():
        key, colon, value = line.partition(":")
        if not colon:
            continue
        literal = re.sub(r"\bnp\.float64\(([^()]*)\)", r"\1", value.strip())
        try:
            controls[key.strip()] = ast.literal_eval(literal)
            json.dumps(controls[key.strip()])
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            controls[key.strip()] = literal
    if not controls:
        raise DataFileError(file, "holds no line key:value", "remove the file if it is not the image's own")
    return controls


def _metadata_file(path: Path) -> Path | None:
    for candidate in (path.with_name(path.name + ".metadata"), path.with_suffix(".metadata")):
        if candidate.is_file():
            return candidate
    return None


def _number(file: Path, found: dict[str, str], key: str) -> float | None:
    """Return the positive number of a key; None where the key is missing."""
    if key not in found:
        return None
    try:
        number = float(found[key])
    except ValueError as error:
        raise DataFileError(file, f"{key} is {found[key]!r}, not a number") from error
    if not 0 <= number < float("inf"):
        raise DataFileError(file, f"{key} is {found[key]}")
    return number


def _count(file: Path, found: dict[str, str], key: str) -> int | None:
    """Return a number of exposures; None where the key is missing."""
    number = _number(file, found, key)
    if number is not None and number != int(number):
        raise DataFileError(file, f"{key} is {found[key]}, not a whole number")
    return None if number is None else int(number)


def _stamp(file: Path, found: dict[str, str]) -> datetime | None:
    seconds = _number(file, found, "timeStamp")
    if seconds:
        return datetime.fromtimestamp(seconds, UTC)
    if "dateString" not in found:
        return None
    try:
        return datetime.strptime(found["dateString"], "%Y.%m.%d : %H:%M:%S.%f")  # noqa: DTZ007 - local time
    except ValueError as error:
        raise DataFileError(file, f"dateString is {found['dateString']!r}, not a time") from error
