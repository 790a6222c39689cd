"""What the parameters of `xrd.integrate` may be, and the one form in which a history records them."""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from beamline.errors import ConfigError, DataFileError
from calibration import geometry as geometries
from calibration.geometry import Geometry
from xrd import pixels
from xrd.kernel import SPLITTING, Setup
from xrd.sensor import sensor_absorption
from xrd.sources import Source

if TYPE_CHECKING:
    from pyFAI.integrator.azimuthal import AzimuthalIntegrator

MOST_SHARED_BINS = 50_000
"""A pixel near the beam would lie in more bins than its run can count."""

MOST_SECTORS = 3600

MOST_BINS = 1_000_000
"""More bins than these are a slip: no detector has as many pixels along a radius."""


def checked(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters of `xrd.integrate`, as plain as they can be; what was left out stays out.

    Raises
    ------
    CalibrationError
        The geometry cannot be read.
    ConfigError
        A parameter is not possible.
    """
    forms = {name: form for name, form in _FORMS.items() if name in parameters}
    return {**parameters, **{name: form(name, parameters[name]) for name, form in forms.items()}}


def setup_of(parameters: Mapping[str, Any], shape: tuple[int, ...], sectors: tuple[float, ...]) -> Setup:
    """Return what a kernel needs to know of parameters of `xrd.integrate`.

    Raises
    ------
    ConfigError
        The parameters contradict each other.
    """
    robust = [name for name in ("clip", "trim") if parameters[name] is not None]
    if len(robust) == 2:
        raise ConfigError("clip and trim", "are two ways to one end", "give one of them")
    if robust and parameters["splitting"] != "none":
        raise ConfigError(
            robust[0], "needs whole pixels: part of one is no outlier", 'leave splitting at "none"'
        )
    if parameters["splitting"] != "none" and parameters["bins"] > MOST_SHARED_BINS:
        raise ConfigError(
            "bins", f"are {parameters['bins']}", f"{MOST_SHARED_BINS} at most where pixels are shared"
        )
    geometry = parameters["geometry"]
    sensor = parameters["sensor"]
    if isinstance(sensor, str):
        sensor = sensor_absorption(sensor, geometry.wavelength)
    return Setup(
        geometry,
        (shape[0], shape[1]),
        parameters["bins"],
        parameters["axis"],
        range_along(parameters, geometry.wavelength),
        sectors,
        parameters["splitting"],
        parameters["polarization"],
        parameters["solid_angle"],
        sensor,
        _source("mask", parameters),
        _source("flat", parameters),
        _source("dark", parameters),
        parameters["mask_orientation"],
    )


def _source(name: str, parameters: Mapping[str, Any]) -> Source:
    try:
        return Source(parameters[name])
    except DataFileError as error:
        raise ConfigError(name, f"{error.subject} {error.problem}", error.remedy) from error


def range_along(parameters: Mapping[str, Any], wavelength: float) -> tuple[float, float] | None:
    """Return the range of the parameters along their axis (see `xrd.pixels`), None where none is given.

    Raises
    ------
    ConfigError
        There are two, or it has no end along the axis.
    """
    given = [name for name in ("two_theta_range", "q_range", "d_range") if parameters.get(name) is not None]
    if len(given) > 1:
        raise ConfigError(" and ".join(given), "are two ranges", "give one of them")
    if not given:
        return None
    low, high = parameters[given[0]]
    axis = parameters["axis"]
    if given[0] == f"{axis}_range":
        return (-high, -low) if axis == "d" else (low, high)
    longest = 4 * math.pi / wavelength
    if given[0] == "d_range":
        low, high = (2 * math.pi / value if value else math.inf for value in (high, low))
    if given[0] != "two_theta_range":
        if high > longest:
            raise ConfigError(given[0], "is beyond 2θ = 180 deg", f"q is at most {longest:.4g} 1/angstrom")
        low, high = (math.degrees(2 * math.asin(value / longest)) for value in (low, high))
    if axis == "d" and low == 0:
        raise ConfigError(given[0], "begins in the beam, at d = infinity", "begin further out")
    return (
        pixels.position_of(low, axis, wavelength),
        pixels.position_of(high, axis, wavelength),
    )


def as_geometry(geometry: Geometry | AzimuthalIntegrator | str | os.PathLike[str]) -> Geometry:
    """Return a `Geometry`, a file of one, or pyFAI's integrator as a `Geometry`.

    Raises
    ------
    CalibrationError
        The file does not define a geometry, or pyFAI's detector is not a flat regular grid.
    ConfigError
        It is something else.
    """
    if isinstance(geometry, Geometry):
        return geometry
    if isinstance(geometry, str | os.PathLike):
        return geometries.load(geometry)
    if not hasattr(geometry, "detector"):
        raise ConfigError(
            "geometry", f"is {_what(geometry)}", "give a Geometry, a file of one, or pyFAI's integrator"
        )
    return Geometry.from_pyfai(geometry)


def settled(value: Any) -> Any:
    """Return a parameter that will not change: arrays that cannot be written to, which are hashed once."""
    if isinstance(value, xr.Dataset):
        value = value.copy(deep=True)
        for variable in value.variables.values():
            variable.values.flags.writeable = False
        return value
    if isinstance(value, np.ndarray):
        value = value.copy()
        value.flags.writeable = False
    return value


def _geometry(name: str, value: Any) -> Geometry:
    return as_geometry(value)


def _bins(name: str, value: Any) -> int:
    if not _is_number(value) or value != int(value) or not 1 <= value <= MOST_BINS:
        raise ConfigError(name, f"is {_what(value)}", f"it is a whole number from 1 to {MOST_BINS}")
    return int(value)


def _one_of(*allowed: str) -> Callable[[str, Any], str]:
    def choice(name: str, value: Any) -> str:
        if not isinstance(value, str) or value not in allowed:
            raise ConfigError(name, f"is {_what(value)}", f"it is one of {', '.join(allowed)}")
        return value

    return choice


def _polarization(name: str, value: Any) -> float | None:
    if value is None or value is False:
        return None
    if not _is_number(value) or not -1 <= value <= 1:
        raise ConfigError(name, f"is {_what(value)}", "it lies between -1 and 1, or is False: not corrected")
    return float(value)


def _yes_or_no(name: str, value: Any) -> bool:
    if not isinstance(value, bool | np.bool_):
        raise ConfigError(name, f"is {_what(value)}", "it is True or False")
    return bool(value)


def _range(unit: str, highest: float) -> Callable[[str, Any], tuple[float, float] | None]:
    def pair(name: str, value: Any) -> tuple[float, float] | None:
        if value is None:
            return None
        is_pair = isinstance(value, list | tuple | np.ndarray) and len(value) == 2
        if not is_pair or not all(map(_is_number, value)):
            raise ConfigError(name, f"is {_what(value)}", f"it is a pair: first and last edge in {unit}")
        low, high = value
        if not 0 <= low < high <= highest:
            raise ConfigError(name, f"is {low} to {high} {unit}", f"it rises, within 0 to {highest:g}")
        return float(low), float(high)

    return pair


def _sector(name: str, value: Any) -> tuple[float, float] | None:
    if value is None:
        return None
    is_pair = isinstance(value, list | tuple | np.ndarray) and len(value) == 2
    if not is_pair or not all(map(_is_number, value)) or not 0 < value[1] - value[0] <= 360:
        raise ConfigError(name, f"is {_what(value)}", "it is a pair of angles in deg, rising by 360 at most")
    return float(value[0]), float(value[1])


def _sectors(name: str, value: Any) -> Any:
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if whole and 1 <= value <= MOST_SECTORS:
        return int(value)
    remedy = "it is a number of sectors, or their edges in deg, rising by 360 at most"
    if whole or not isinstance(value, list | tuple | np.ndarray) or len(value) < 2:
        raise ConfigError(name, f"is {_what(value)}", remedy)
    edges = tuple(float(edge) if _is_number(edge) else math.nan for edge in value)
    if not all(low < high for low, high in itertools.pairwise(edges)) or edges[-1] - edges[0] > 360:
        raise ConfigError(name, f"is {_what(value)}", remedy)
    return edges


def _part(name: str, value: Any) -> float | None:
    if value is None:
        return None
    if not _is_number(value) or not 0 < value < 0.5:
        raise ConfigError(name, f"is {_what(value)}", "it is the part left out at either end, below 0.5")
    return float(value)


def _name(name: str, value: Any) -> str | None:
    if value is not None and not (isinstance(value, str) and value):
        raise ConfigError(name, f"is {_what(value)}", "it is the name of a coordinate of the frames")
    return value


def _signal(meaning: str) -> Callable[[str, Any], float | None]:
    def positive(name: str, value: Any) -> float | None:
        if value is None:
            return None
        if not _is_number(value) or not value > 0:
            raise ConfigError(name, f"is {_what(value)}", f"it is the signal {meaning}, above 0")
        return float(value)

    return positive


def _pixels(meaning: str, dtypes: str) -> Callable[[str, Any], Any]:
    """Let it be a path, or an array of numbers, or where the dtypes are not of a mask a Dataset of images."""

    def image(name: str, value: Any) -> Any:
        if value is None or isinstance(value, Path):
            return value
        if isinstance(value, str | os.PathLike):
            return Path(value)
        if isinstance(value, xr.Dataset):
            if "counts" not in value or "b" in dtypes:
                raise ConfigError(name, "is a Dataset without counts", f"give {meaning}")
            return value
        try:
            array = np.asarray(value)
        except ValueError as error:
            raise ConfigError(name, f"is no array ({error})", f"give {meaning}") from error
        if array.dtype.kind not in dtypes:
            raise ConfigError(name, f"is {_what(value)}", f"give {meaning}")
        return array

    return image


def _sensor(name: str, value: Any) -> float | str | None:
    if isinstance(value, str):
        try:
            value = float(value)  # as a command line has it
        except ValueError:
            return str(value)
    if value is None:
        return None
    if not _is_number(value) or not value > 0:
        raise ConfigError(name, f"is {_what(value)}", 'it is μt, above 0, or text such as "CsI 500 um"')
    return float(value)


def _orientation(name: str, value: Any) -> int | None:
    if value is None:
        return None
    if not _is_number(value) or value not in (1, 2, 3, 4):
        raise ConfigError(name, f"is {_what(value)}", "it is 1, 2, 3 or 4")
    return int(value)


def _is_number(value: Any) -> bool:
    number = isinstance(value, int | float | np.integer | np.floating)
    return number and not isinstance(value, bool) and math.isfinite(value)


def _what(value: Any) -> str:
    """Return a value as an error shows it: itself if it is short, else its type."""
    shown = repr(value)
    return shown if len(shown) <= 40 and "\n" not in shown else f"of type {type(value).__name__}"


_FORMS: dict[str, Callable[[str, Any], Any]] = {
    "geometry": _geometry,
    "bins": _bins,
    "splitting": _one_of(*SPLITTING),
    "mask": _pixels("an array (y, x), nonzero = masked, or a file", "biuf"),
    "polarization": _polarization,
    "solid_angle": _yes_or_no,
    "error_model": _one_of("poisson", "azimuthal"),
    "two_theta_range": _range("deg", 180),
    "q_range": _range("1/angstrom", 1e4),
    "d_range": _range("angstrom", 1e6),
    "azimuth_range": _sector,
    "sectors": _sectors,
    "axis": _one_of(*pixels.AXES),
    "dark": _pixels("images, an array (y, x) or a file", "iuf"),
    "flat": _pixels("images, an array (y, x) or a file", "iuf"),
    "read_noise": _signal("of nothing, its standard deviation"),
    "sensor": _sensor,
    "monitor": _name,
    "clip": _signal("in standard deviations"),
    "trim": _part,
    "gain": _signal("of one photon"),
    "saturation": _signal("from which on a pixel is not used"),
    "mask_orientation": _orientation,
}
