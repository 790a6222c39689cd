"""What the parameters of `xrd.integrate` may be, and the one form in which a history records them."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from beamline.errors import ConfigError
from calibration import geometry as geometries
from calibration.geometry import Geometry
from xrd.kernel import SPLITTING

if TYPE_CHECKING:
    from pyFAI.integrator.azimuthal import AzimuthalIntegrator

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


def _range(name: str, value: Any) -> tuple[float, float] | None:
    if value is None:
        return None
    is_pair = isinstance(value, list | tuple | np.ndarray) and len(value) == 2
    if not is_pair or not all(map(_is_number, value)):
        raise ConfigError(name, f"is {_what(value)}", "it is a pair: first and last 2θ in deg")
    low, high = value
    if not 0 <= low < high <= 180:
        raise ConfigError(name, f"is {low} to {high} deg", "it rises, within 0 to 180")
    return float(low), float(high)


def _signal(meaning: str) -> Callable[[str, Any], float | None]:
    def positive(name: str, value: Any) -> float | None:
        if value is None:
            return None
        if not _is_number(value) or not value > 0:
            raise ConfigError(name, f"is {_what(value)}", f"it is the signal {meaning}, above 0")
        return float(value)

    return positive


def _mask(name: str, value: Any) -> Any:
    """Let a mask be a path, or an array of numbers."""
    if value is None or isinstance(value, Path):
        return value
    if isinstance(value, str | os.PathLike):
        return Path(value)
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ConfigError(name, f"is no array ({error})", "nonzero = masked") from error
    if array.dtype.kind not in "biuf":
        raise ConfigError(name, f"is {_what(value)}", "give an array (y, x), nonzero = masked, or a file")
    return array


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
    "mask": _mask,
    "polarization": _polarization,
    "solid_angle": _yes_or_no,
    "error_model": _one_of("poisson", "azimuthal"),
    "two_theta_range": _range,
    "gain": _signal("of one photon"),
    "saturation": _signal("from which on a pixel is not used"),
    "mask_orientation": _orientation,
}
