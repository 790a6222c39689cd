"""Patterns as a fit needs them: angles, intensities, weights, and the checks that they can be fitted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from beamline import model as data_model
from beamline.errors import CalibrationError, FitError
from calibration.correlation import inflation
from xrd.models import Model

Floats = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class Observations:
    """Patterns that share one axis.

    Attributes
    ----------
    two_theta
        In deg, rising.
    intensity, errors
        (frame, two_theta); NaN where nothing was measured.
    used
        Points within the limits and outside excluded ranges.
    polarization_corrected
        The patterns were corrected, so that the model must not polarise.
    names
        What each frame is called in messages.
    inflation
        By how much correlated neighbours enlarge the variances of what is fitted (`calibration.correlation`).
    """

    two_theta: Floats
    intensity: Floats
    errors: Floats
    used: np.ndarray[Any, np.dtype[np.bool_]]
    polarization_corrected: bool
    names: tuple[str, ...]
    inflation: float = 1.0


def observations(patterns: xr.Dataset, model: Model) -> Observations:
    """Return patterns as a fit needs them.

    Parameters
    ----------
    patterns
        Kind ``xrd.patterns``: intensity and intensity_errors, (frame, two_theta) or (two_theta).
    model
        Gives limits, excluded ranges and the instrument.

    Raises
    ------
    FitError
        The patterns have no errors, or some that are not above 0; their wavelength is not that of the
        instrument; nothing is left within the limits; or the instrument does not cover them.
    SchemaError
        They are no patterns.
    """
    patterns = data_model.with_defaults(patterns, "xrd.patterns")
    names = _names(patterns)
    if "intensity_errors" not in patterns:
        raise FitError(names[0], "has no errors, which weigh the points", "give intensity_errors")
    _check_errors(patterns, names)
    data_model.validate(patterns, "xrd.patterns")
    stated = patterns.attrs.get("wavelength")
    wavelength = model.instrument.wavelength
    if stated is not None and abs(float(stated) / wavelength - 1) > 1e-3:
        raise FitError(
            names[0],
            f"was measured at {float(stated):g} angstrom, the instrument is of {wavelength:g} angstrom",
            "give the instrument of this measurement",
        )
    frames = patterns.sortby("two_theta")
    two_theta = frames["two_theta"].values.astype(float)
    low, high = model.limits or (float(two_theta[0]), float(two_theta[-1]))
    used = (two_theta >= low) & (two_theta <= high)
    for first, last in model.excluded:
        used &= (two_theta < first) | (two_theta > last)
    if used.sum() < 10:
        raise FitError(
            names[0],
            f"has {used.sum()} points from {low:g} to {high:g} deg",
            f"it reaches from {two_theta[0]:g} to {two_theta[-1]:g} deg",
        )
    try:
        model.instrument.check_range((two_theta[used][0], two_theta[used][-1]))
    except CalibrationError as error:
        raise FitError(f"{error.subject} of {names[0]}", error.problem, error.remedy) from error
    return Observations(
        two_theta,
        np.atleast_2d(frames["intensity"].values.astype(float)),
        np.atleast_2d(frames["intensity_errors"].values.astype(float)),
        used,
        bool(patterns.attrs.get("polarization_corrected", 0)),
        names,
        inflation(frames, used),
    )


def _check_errors(patterns: xr.Dataset, names: tuple[str, ...]) -> None:
    intensity = np.atleast_2d(patterns["intensity"].values.astype(float))
    errors = np.atleast_2d(patterns["intensity_errors"].values.astype(float))
    if intensity.shape != errors.shape:
        return  # what is wrong then, validation says
    wrong = (np.isfinite(intensity) & ~(errors > 0)).sum(axis=1)
    if wrong.any():
        frame = int(np.argmax(wrong > 0))
        raise FitError(
            names[frame],
            f"has {wrong[frame]} points whose error is not above 0",
            "give them errors, or make them NaN where nothing was measured",
        )


def _names(patterns: xr.Dataset) -> tuple[str, ...]:
    count = patterns.sizes.get("frame", 1)
    if "file" in patterns.coords:
        return tuple(str(name) for name in np.broadcast_to(patterns["file"].values, count))
    return tuple(f"pattern {i}" for i in range(count))
