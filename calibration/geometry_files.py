"""Detector geometries in the files of other programs: PONI (pyFAI, Dioptas), GSAS-II's image controls, HEXRD.

A PONI file is text, ``key: value`` in SI units, keys in any case. Version 1 has PixelSize1 and PixelSize2,
version 2 the detector's name and a JSON Detector_config (pixel1, pixel2, max_shape), version 2.1 adds the
orientation to it, version 3 the line Parallax. An ``.imctrl`` is text, ``key:value``, in mm, deg and
angstrom. HEXRD's instrument is YAML, in mm, rad and keV.
"""

from __future__ import annotations

import ast
import json
import math
import os
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from beamline.errors import CalibrationError
from calibration import geometry_conversions
from calibration.records import read_text

ORIENTATIONS = (1, 2, 3, 4)

_WHICH_ORIENTATION = (
    "give orientation=3 if the image was calibrated as stored (pyFAI does), "
    "orientation=2 if the program flipped it vertically (Dioptas does)"
)
_PONI_KEYS = ("Distance", "Poni1", "Poni2", "Rot1", "Rot2", "Rot3")


def to_angstrom(metre: float | str) -> float:
    """Return a length in angstrom; shifted as decimals, so that 4.066e-11 m is 0.4066 to the last digit."""
    return float(Decimal(str(metre)).scaleb(10))


def to_metre(angstrom: float) -> Decimal:
    """Return a length in m, exactly."""
    return Decimal(str(angstrom)).scaleb(-10)


def read_poni(path: str | os.PathLike[str], orientation: int | None) -> dict[str, Any]:
    """Return the values of `Geometry` that a PONI file holds; see `Geometry.from_poni`."""
    entry, calibrant = _last_entry(read_text(path))
    if not entry:
        raise CalibrationError(path, "holds no geometry", "a PONI file has lines such as 'Distance: 0.2'")
    version = _number(path, entry, "poni_version") if "poni_version" in entry else 1.0
    if version > 3:
        raise CalibrationError(path, f"is of version {version:g}, which is not known", "save it as version 3")
    if entry.get("parallax", "false").lower() == "true":
        raise CalibrationError(
            path, "asks for the parallax correction, which is not applied here", "calibrate without it"
        )
    numbers = {key.lower(): _number(path, entry, key) for key in _PONI_KEYS}
    _number(path, entry, "Wavelength")
    wavelength = to_angstrom(entry["wavelength"])
    pixel_size, shape, stated = _detector(path, entry)
    if stated is None and orientation is None:
        raise CalibrationError(
            path, "does not say which way round the image was calibrated", _WHICH_ORIENTATION
        )
    if stated is not None and orientation is not None and stated != orientation:
        raise CalibrationError(
            path, f"states orientation {stated}, {orientation} was given", "leave it out, or correct the file"
        )
    return {
        **numbers,
        "wavelength": wavelength,
        "pixel_size": pixel_size,
        "shape": shape,
        "orientation": stated if stated is not None else orientation,
        "calibrant": calibrant,
    }


def poni_text(geometry: Mapping[str, Any]) -> str:
    """Return the record of a `Geometry` as a PONI file of version 2.1."""
    config = {
        "pixel1": geometry["pixel_size"][0],
        "pixel2": geometry["pixel_size"][1],
        "max_shape": geometry["shape"],
        "orientation": geometry["orientation"],
    }
    lines = [
        "# Detector geometry; 1 is the slow axis (y), 2 the fast axis (x)",
        *_remarks(geometry),
        "poni_version: 2.1",
        "Detector: Detector",
        f"Detector_config: {json.dumps(config)}",
        *(f"{key}: {geometry[key.lower()]!r}" for key in _PONI_KEYS),
        f"Wavelength: {to_metre(geometry['wavelength']):e}",
    ]
    return "\n".join(lines) + "\n"


def read_imctrl(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the values of `Geometry` that image controls hold; see `Geometry.from_imctrl`."""
    entry: dict[str, str] = {}
    for line in read_text(path).splitlines():
        key, colon, value = line.partition(":")
        if colon:
            entry[key.strip().lower()] = value.strip()
    for key, what in (("DetDepth", "a penetration depth"), ("det2theta", "a detector arm")):
        if key.lower() in entry and _number(path, entry, key) != 0.0:
            raise CalibrationError(
                path,
                f"uses {what} ({key} {entry[key.lower()]}), which has no equivalent here",
                "calibrate in GSAS-II with it set to 0",
            )
    tilt = math.radians(_number(path, entry, "tilt"))
    phi = math.radians(_number(path, entry, "rotation"))
    distance = _number(path, entry, "distance") * 1e-3
    x, y = _center(path, entry)
    rot2 = math.asin(math.sin(tilt) * math.cos(phi))
    return {
        "distance": distance,
        "poni1": y * 1e-3 - distance * math.tan(tilt) * math.cos(phi),
        "poni2": x * 1e-3 + distance * math.tan(tilt) * math.sin(phi),
        "rot1": math.asin(math.sin(tilt) * math.sin(phi) / math.cos(rot2)),
        "rot2": rot2,
        "rot3": 0.0,
        "wavelength": _number(path, entry, "wavelength"),
        "calibrant": entry.get("calibrant", ""),
    }


def imctrl_text(geometry: Mapping[str, Any]) -> str:
    """Return the record of a `Geometry` as GSAS-II's image controls, without what integrates the image.

    Raises
    ------
    CalibrationError
        The detector is turned about the beam (rot3).
    """
    values = geometry_conversions.to_imctrl(geometry)
    vary = {
        key: key != "wave" and key != "dep"
        for key in ("dist", "det-X", "det-Y", "tilt", "phi", "dep", "wave")
    }
    lines = [
        "# Detector geometry in mm and deg; the image is held as orientation "
        f"{geometry['orientation']} names (3: as stored, 2: rows in reverse order)",
        *_remarks(geometry),
        "type:PWDR",
        f"wavelength:{geometry['wavelength']!r}",
        f"calibrant:{geometry['calibrant']}",
        *(f"{key}:{value!r}" for key, value in values.items()),
        "azmthOff:0.0",
        "DetDepth:0.0",
        f"varyList:{vary!r}",
    ]
    return "\n".join(lines) + "\n"


def hexrd_text(geometry: Mapping[str, Any]) -> str:
    """Return the record of a `Geometry` as HEXRD's instrument with one panel, named ``panel``."""
    panel = geometry_conversions.to_hexrd(geometry)
    lines = [
        "# Detector geometry in mm, rad and keV; row 0 is that of orientation "
        f"{geometry['orientation']} (3: as stored, 2: rows in reverse order)",
        *_remarks(geometry),
        "beam:",
        f"  energy: {geometry_conversions.HC / geometry['wavelength']!r}",
        "  vector: {azimuth: 90.0, polar_angle: 90.0}",
        "oscillation_stage: {chi: 0.0, translation: [0.0, 0.0, 0.0]}",
        "detectors:",
        "  panel:",
        "    detector_type: planar",
        *(
            line
            for key in ("pixels", "transform")
            for line in (f"    {key}:", *(f"      {name}: {value!r}" for name, value in panel[key].items()))
        ),
    ]
    return "\n".join(lines) + "\n"


def read_hexrd(path: str | os.PathLike[str], panel: str | None) -> dict[str, Any]:
    """Return the values of `Geometry` that a panel of HEXRD's instrument holds; see `Geometry.from_hexrd`."""
    try:
        import yaml  # type: ignore[import-untyped]
    except ImportError as error:
        raise CalibrationError(path, "is YAML, which needs PyYAML", "pip install pyyaml") from error
    try:
        instrument = yaml.safe_load(read_text(path))
        beam, panels = instrument["beam"], instrument["detectors"]
        vector = beam.get("vector", {"azimuth": 90.0, "polar_angle": 90.0})
        upright = math.isclose(vector["azimuth"], 90) and math.isclose(vector["polar_angle"], 90)
        shifted = any(instrument.get("oscillation_stage", {}).get("translation", ()))
        energy = float(beam["energy"])
    except (yaml.YAMLError, KeyError, TypeError, ValueError, AttributeError) as error:
        said = " ".join(str(error).split())  # of several lines where YAML shows where it is
        raise CalibrationError(path, f"is no HEXRD instrument ({type(error).__name__}: {said})") from error
    if not upright or shifted:
        raise CalibrationError(
            path, "has a beam along another axis or a shifted stage, which have no equivalent here"
        )
    if panel is None and len(panels) == 1:
        panel = next(iter(panels))
    if panel not in panels:
        raise CalibrationError(path, f"has the panels {', '.join(panels)}", "name one with panel=")
    try:
        return geometry_conversions.of_hexrd(panels[panel], energy)
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise CalibrationError(
            path, f"panel {panel} is incomplete ({type(error).__name__}: {error})"
        ) from error


def _remarks(geometry: Mapping[str, Any]) -> list[str]:
    """Return comments on where a geometry comes from."""
    lines = [f"# Calibrant: {geometry['calibrant']}"] if geometry["calibrant"] else []
    if geometry["residual_mdeg"] is not None:
        lines.append(f"# Mean deviation of the rings in sectors: {geometry['residual_mdeg']:.3f} mdeg")
    return lines


def _last_entry(text: str) -> tuple[dict[str, str], str]:
    """Return the keys (lower case) of the last entry, and the calibrant.

    Programs append to a PONI file: where a key comes again, a new entry begins. Nothing is taken over from
    an older entry, so that two entries of different detectors cannot mix.
    """
    entry: dict[str, str] = {}
    calibrant = ""
    for line in text.splitlines():
        key, colon, value = line.partition(":")
        if not colon:
            continue
        if line.startswith("#"):
            if key.lstrip("# ").strip().lower() == "calibrant":
                calibrant = value.strip()
            continue
        key = key.strip().lower()
        if key in entry:
            entry = {}
        entry[key] = value.strip()
    return entry, calibrant


def _detector(
    path: str | os.PathLike[str], entry: Mapping[str, str]
) -> tuple[tuple[float, float], tuple[int, int] | None, int | None]:
    """Return pixel size, shape and orientation (None where not stated) of a PONI entry's detector."""
    if entry.get("splinefile", "none").lower() not in ("none", ""):
        raise CalibrationError(path, "uses a spline file: a distorted detector", "correct the images first")
    try:
        config = json.loads(entry.get("detector_config", "{}"))
    except ValueError as error:
        raise CalibrationError(path, f"Detector_config is not JSON ({error})") from error
    if not isinstance(config, dict):
        raise CalibrationError(path, "Detector_config is not a JSON object")
    size = {}
    for axis in ("1", "2"):
        value = config.get(f"pixel{axis}", entry.get(f"pixelsize{axis}"))
        if value is not None:
            size[f"pixelsize{axis}"] = str(value)
    shape = config.get("max_shape")
    name = entry.get("detector", "Detector")
    if name not in ("Detector", "None"):
        known_size, known_shape = _known_detector(path, name)
        if not size:
            size = {f"pixelsize{axis}": str(s) for axis, s in zip("12", known_size, strict=True)}
            # A detector that states its own pixel size may be binned: its shape is not that of the model.
            shape = shape or list(known_shape)
    pixel_size = _number(path, size, "PixelSize1"), _number(path, size, "PixelSize2")
    if shape is not None and not (
        isinstance(shape, list)
        and len(shape) == 2
        and all(isinstance(n, int) and not isinstance(n, bool) and n > 0 for n in shape)
    ):
        raise CalibrationError(path, f"max_shape is {shape!r}", "it is [rows, columns] or null")
    orientation = config.get("orientation") or None  # pyFAI writes 0 for "not known"
    if orientation is not None and (isinstance(orientation, bool) or orientation not in ORIENTATIONS):
        raise CalibrationError(path, f"orientation is {orientation!r}", f"it is one of {ORIENTATIONS}")
    return pixel_size, (shape[0], shape[1]) if shape else None, orientation


def _known_detector(path: str | os.PathLike[str], name: str) -> tuple[tuple[float, float], tuple[int, int]]:
    """Return pixel size and shape of a detector pyFAI knows by name."""
    from pyFAI.detectors import ALL_DETECTORS

    kind = ALL_DETECTORS.get(name.lower())
    if kind is None:
        raise CalibrationError(
            path, f"names the detector {name!r}, which pyFAI does not know", "write 'Detector: Detector'"
        )
    detector = kind()
    if not (detector.uniform_pixel and detector.IS_FLAT and detector.max_shape and detector.pixel1):
        raise CalibrationError(path, f"names the detector {name!r}, which is not a flat regular grid")
    rows, columns = detector.max_shape
    return (float(detector.pixel1), float(detector.pixel2)), (int(rows), int(columns))


def _center(path: str | os.PathLike[str], entry: Mapping[str, str]) -> tuple[float, float]:
    if "center" not in entry:
        raise CalibrationError(path, "center is missing", "is the file complete?")
    try:
        x, y = (float(value) for value in ast.literal_eval(_without_numpy(entry["center"])))
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise CalibrationError(
            path, f"center is {entry['center'][:60]!r}", "it is the pair [x, y] in mm"
        ) from error
    if not (math.isfinite(x) and math.isfinite(y)):
        raise CalibrationError(path, f"center is {entry['center']}", "calibrate again")
    return x, y


def _number(path: str | os.PathLike[str], entry: Mapping[str, str], key: str) -> float:
    """Return a finite number of an entry, whose keys are in lower case."""
    text = entry.get(key.lower())
    if text is None:
        raise CalibrationError(path, f"{key} is missing", "is the file complete?")
    try:
        value = float(_without_numpy(text))
    except ValueError as error:
        raise CalibrationError(path, f"{key} is {text[:40]!r}, which is not a number") from error
    if not math.isfinite(value):
        raise CalibrationError(path, f"{key} is {text}", "calibrate again")
    return value


def _without_numpy(text: str) -> str:
    """Return ``np.float64(1.5)``, as newer programs print a number, as ``1.5``."""
    return re.sub(r"\b(?:np|numpy)\.\w+\(([^()]*)\)", r"\1", text)
