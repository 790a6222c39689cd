r"""The peak shape of a diffractometer, from the pattern of a calibrant whose cell is known.

The pattern is fitted with free intensities (G. S. Pawley, J. Appl. Cryst. 14 (1981) 357), so that texture,
grains and atoms do not matter: positions come from the tabulated spacings, the wavelength and the zero;
widths from U, V, W, X, Y; shapes from SH/L as well. The background is a sum of Chebyshev polynomials.
Weighted least squares after K. Levenberg and D. W. Marquardt; intensities and background are linear and cost
no iterations.

Crystallites of size S broaden a calibrant too, by a Lorentzian of FWHM :math:`1.8 λ / (π S \cosθ)` centideg
(S in um, λ in angstrom) that nothing in the pattern tells from X. Where the size is stated it is taken out
of X.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from beamline.errors import CalibrationError, FitError
from calibration.axial import SMALLEST, SMALLEST_EXACT, gsas2_rules
from calibration.calibrants import find_calibrant
from calibration.coarse_grid import tails
from calibration.correlation import inflation
from calibration.instrument import Axial, Instrument
from calibration.profiles import EXACT, accumulate

Array = np.ndarray[Any, np.dtype[np.float64]]

VARIED = ("zero", "U", "V", "W", "X", "Y", "SHL")

STEPS = 60

CONVERGED = 1e-6
"""The fit ends when chi² falls by less than this part."""

MERGED = 0.3
"""Reflections closer than this part of their width share one intensity."""

FEWEST = 6
"""Reflections that widths can be told from."""

STARTS = (1.0, 0.9, 0.95, 1.05, 1.1, 1.2)
"""Factors of SH/L from which a fit with GSAS-II's rule begins; the best is taken."""

POOR = 0.25
"""A weighted residual, of what is above the background, beyond which nothing fits."""


class _Pattern(NamedTuple):
    x: Array
    y: Array
    sigma: Array


class _Model(NamedTuple):
    """What does not change in a fit: Bragg positions (deg), group of each, numbers of both, least SH/L."""

    bragg: Array
    group: np.ndarray[Any, np.dtype[np.intp]]
    groups: int
    terms: int
    smallest: float
    exact: bool = True


def calibrate(
    pattern: xr.Dataset,
    wavelength: float | None = None,
    calibrant: str | os.PathLike[str] = "CeO2",
    size: float | None = None,
    size_error: float = 0.0,
    limits: tuple[float, float] | None = None,
    varied: Sequence[str] = VARIED,
    background: int = 10,
    polarization: float = 0.99,
    axial: Axial = "gsas2",
) -> Instrument:
    """Find zero and peak shape with the pattern of a calibrant.

    Parameters
    ----------
    pattern
        Kind ``xrd.patterns`` with errors, one pattern.
    wavelength
        In angstrom; by default the pattern's attribute. It is not refined.
    calibrant
        A name pyFAI knows ("CeO2", "LaB6_SRM660c"), or a CIF.
    size, size_error
        Crystallite size of the calibrant and its standard deviation, in um; None: it broadens nothing.
    limits
        Range of 2θ in deg; by default that of the pattern from the first to the last reflection.
    varied
        What is refined, of zero, U, V, W, X, Y, SHL; the rest is 0, W what the first peaks say, SH/L the
        least there is: 0.002, or 0 with exact rules, as for rings that are read as rings.
    background
        Number of Chebyshev polynomials.
    polarization
        Written into the record; free intensities do not depend on it.
    axial
        How axial divergence is integrated where the result is used: ``"gsas2"`` for an ``.instprm``, or
        ``"exact"`` (see `Instrument`). The first steps are exact in any case: GSAS-II's rule jumps with width
        and SH/L, so that a fit with it stops wherever it is.

    Returns
    -------
    Instrument
        With the covariance of what was varied, times the reduced chi² where that is above 1, and times what
        the correlation of neighbouring bins adds where the pattern states it (``correlation``). SH/L is left
        out of it where it falls to the least that shows, 0.002 or, with exact rules, 3e-5.

    Raises
    ------
    CalibrationError
        The pattern is none, or several, or has no errors or too few reflections; a parameter makes no sense;
        the size explains more than the width found.
    FitError
        No profile fits.
    """
    unknown = sorted(set(varied) - set(VARIED))
    if unknown or not varied:
        raise CalibrationError(
            "varied", f"names {', '.join(unknown) or 'nothing'}", f"choose of {', '.join(VARIED)}"
        )
    if background < 1:
        raise CalibrationError("background", f"has {background} terms", "it has 1 at least")
    if axial not in ("gsas2", "exact"):
        raise CalibrationError("axial", f"is {axial!r}", "it is gsas2 or exact")
    data, stated, shared = _pattern(pattern, limits)
    wavelength = stated if wavelength is None else wavelength
    if wavelength is None or not (math.isfinite(wavelength) and 0.005 < wavelength < 50):
        raise CalibrationError("wavelength", f"is {wavelength} angstrom", "give wavelength in angstrom")
    powder = find_calibrant(calibrant, wavelength)
    bragg = np.degrees(powder.two_theta(wavelength))
    inside = bragg[(bragg > data.x[0]) & (bragg < data.x[-1])]
    if inside.size < FEWEST:
        raise CalibrationError(
            "pattern",
            f"has {inside.size} reflections of {powder.name}, {FEWEST} are needed",
            "check wavelength and limits",
        )
    data = _between(data, bragg, inside)
    width = _first_width(data, inside)
    group = np.cumsum(np.diff(inside, prepend=-np.inf) > MERGED * width) - 1
    smallest = SMALLEST if axial == "gsas2" else SMALLEST_EXACT
    model = _Model(inside, group.astype(np.intp), int(group[-1]) + 1, background, smallest)
    values = {**dict.fromkeys(VARIED, 0.0), "W": (100 * width / 2.355) ** 2}
    values["SHL"] = SMALLEST if axial == "gsas2" else 0.0
    if "X" in varied:  # begin with a little of both parts
        values["W"] *= 0.6
        values["X"] = 20 * width
    if "SHL" in varied:
        values["SHL"] = 0.004
    names = tuple(name for name in VARIED if name in varied)
    values, covariance, chi2, names = _fit(data, model, values, names)
    if axial == "gsas2":
        rule, shl = model._replace(exact=False), values["SHL"]
        starts = [{**values, "SHL": max(factor * shl, SMALLEST)} for factor in STARTS]
        fits = [_fit(data, rule, start, names) for start in (starts if "SHL" in names else [values])]
        values, covariance, chi2, names = min(fits, key=lambda fit: fit[2])
    above = (data.y - np.percentile(data.y, 5)) / data.sigma
    residual = math.sqrt(chi2 * data.x.size / float(above @ above))
    if not residual < POOR:
        raise FitError(
            "instrument",
            f"fits no profile (residual {residual:.0%}, reduced chi² {chi2:.0f})",
            "check calibrant, wavelength and geometry, or narrow the limits",
        )
    covariance = covariance * max(1.0, chi2) * shared
    if size is not None:
        values, covariance = _without_size(values, covariance, names, size, size_error, wavelength)
    shape: dict[str, Any] = dict(values)
    return Instrument(
        wavelength=wavelength,
        polarization=polarization,
        **shape,
        axial=axial,
        varied=names,
        covariance=tuple(tuple(map(float, row)) for row in covariance),
        # Towards the beam tan θ and 1 / cos θ are at their limits: nothing is extrapolated there.
        two_theta_range=(0.0, float(data.x[-1])),
    )


def _pattern(pattern: xr.Dataset, limits: tuple[float, float] | None) -> tuple[_Pattern, float | None, float]:
    """Return the points, the wavelength where it is stated, and by how much correlation raises variances."""
    if not isinstance(pattern, xr.Dataset) or "intensity" not in pattern or "two_theta" not in pattern.coords:
        raise CalibrationError(
            "pattern", "is no pattern of intensity against two_theta", "integrate the image first"
        )
    if "intensity_errors" not in pattern:
        raise CalibrationError("pattern", "has no errors", "integrate with an error model")
    if pattern.sizes.get("frame", 1) != 1:
        raise CalibrationError(
            "pattern", f"has {pattern.sizes['frame']} frames", "give one: pattern.isel(frame=0)"
        )
    one = pattern.squeeze("frame", drop=True) if "frame" in pattern.dims else pattern
    x = one["two_theta"].values.astype(float)
    y = one["intensity"].values.astype(float)
    sigma = one["intensity_errors"].values.astype(float)
    good = np.isfinite(y) & np.isfinite(sigma) & (sigma > 0)
    if limits is not None:
        good &= (x >= limits[0]) & (x <= limits[1])
    if good.sum() < 100:
        raise CalibrationError("pattern", f"has {good.sum()} points to fit", "check the limits")
    stated = pattern.attrs.get("wavelength")
    return (
        _Pattern(x[good], y[good], sigma[good]),
        None if stated is None else float(stated),
        inflation(one, good),
    )


def _between(data: _Pattern, bragg: Array, inside: Array) -> _Pattern:
    """Return the points up to half way to the reflections that lie beyond."""
    low = inside[0] - 0.5 * (inside[1] - inside[0])
    beyond = bragg[bragg > inside[-1]]
    high = 0.5 * (inside[-1] + beyond[0]) if beyond.size else np.inf
    kept = (data.x >= low) & (data.x <= high)
    return _Pattern(*(column[kept] for column in data))


def _first_width(data: _Pattern, bragg: Array) -> float:
    """Return the FWHM (deg) of the reflections at low angles: the median of those that stand alone."""
    gaps = np.minimum(np.diff(bragg, prepend=-np.inf), np.diff(bragg, append=np.inf))
    widths = []
    for position, gap in zip(bragg, gaps, strict=True):
        near = np.abs(data.x - position) < 0.45 * min(gap, 1.0)
        if near.sum() < 7:
            continue
        x, y = data.x[near], data.y[near]
        base = np.percentile(y, 10)
        top = int(np.argmax(y))
        if y[top] - base < 8 * data.sigma[near][top]:
            continue
        above = y - base > 0.5 * (y[top] - base)
        widths.append(float(above.sum() * np.median(np.diff(x))))
    if len(widths) < 2:
        raise CalibrationError(
            "pattern", "has no clear reflection of the calibrant", "check calibrant and wavelength"
        )
    return float(np.median(widths[:8]))


def _fit(
    data: _Pattern, model: _Model, values: dict[str, float], names: tuple[str, ...]
) -> tuple[dict[str, float], Array, float, tuple[str, ...]]:
    """Return values, the covariance of what was varied, the reduced chi², and what was varied in the end."""
    shape = np.array([values[name] for name in names])
    damping = 1e-3
    chi2, linear, normal, gradient = _evaluate(data, model, values, names)
    for _ in range(STEPS):
        scale = np.sqrt(np.maximum(np.diag(normal), 1e-300))
        step = (
            np.linalg.solve(normal / np.outer(scale, scale) + damping * np.eye(scale.size), -gradient / scale)
            / scale
        )
        moved = dict(values)
        for name, value in zip(names, shape + step[: shape.size], strict=True):
            moved[name] = float(value)
        if "SHL" in names and moved["SHL"] <= model.smallest:
            # Below, it does not show: it is no parameter any more.
            values = {**values, "SHL": model.smallest}
            names = tuple(name for name in names if name != "SHL")
            shape = np.array([values[name] for name in names])
            chi2, linear, normal, gradient = _evaluate(data, model, values, names)
            continue
        try:
            trial = _evaluate(data, model, moved, names)
        except CalibrationError:  # no width somewhere
            trial = (math.inf, linear, normal, gradient)
        if trial[0] < chi2 * (1 + 1e-12):
            gain = (chi2 - trial[0]) / chi2
            values, shape = moved, shape + step[: shape.size]
            chi2, linear, normal, gradient = trial
            damping = max(damping / 10, 1e-9)
            if gain < CONVERGED:
                break
        else:
            damping = max(damping * 10, 1e-6)
            if damping > 1e8:
                break
    free = max(data.x.size - normal.shape[0], 1)
    scale = np.sqrt(np.maximum(np.diag(normal), 1e-300))
    covariance = np.linalg.pinv(normal / np.outer(scale, scale)) / np.outer(scale, scale)
    return values, covariance[: shape.size, : shape.size], chi2 / free, names


def _evaluate(
    data: _Pattern, model: _Model, values: dict[str, float], names: tuple[str, ...]
) -> tuple[float, Array, Array, Array]:
    """Return chi² with the best intensities and background, these, and the normal equations of everything."""
    position = model.bragg + values["zero"]
    shape: dict[str, Any] = dict(values)
    variance, gamma = Instrument(wavelength=1.0, **shape).widths(position)
    rules = rules_of(position, values["SHL"], gamma, model.exact)
    coarse = tails(data.x)
    sizes = np.bincount(model.group)
    share = 1.0 / sizes[model.group]
    # Profiles of the groups, of unit area: they are the design of the linear part.
    columns = np.zeros((model.groups, data.x.size))
    for number in range(model.groups):
        lines = model.group == number
        accumulate(
            *(
                data.x,
                position[lines],
                variance[lines],
                gamma[lines],
                share[lines],
                values["SHL"],
                rules[lines],
            ),
            *(np.zeros((0, int(lines.sum()), 5)), columns[number], np.zeros((0, data.x.size))),
            coarse=coarse,
        )
    unit = 2 * (data.x - data.x[0]) / (data.x[-1] - data.x[0]) - 1
    smooth = np.polynomial.chebyshev.chebvander(unit, model.terms - 1).T
    design = np.concatenate([columns, smooth]) / data.sigma
    norms = np.sqrt((design**2).sum(axis=1))
    linear = np.linalg.lstsq(
        (design / np.maximum(norms, 1e-300)[:, None]).T, data.y / data.sigma, rcond=1e-10
    )[0]
    linear = linear / np.maximum(norms, 1e-300)
    area = (linear[: model.groups] * 1.0)[model.group] * share
    slopes = _slopes(position, values["SHL"], names)
    slopes[:, :, 3] = 0.0
    pattern = np.zeros(data.x.size)
    jacobian = np.zeros((len(names), data.x.size))
    accumulate(
        *(data.x, position, variance, gamma, area, values["SHL"], rules, slopes, pattern, jacobian),
        coarse=coarse,
    )
    miss = (pattern + linear[model.groups :] @ smooth - data.y) / data.sigma
    every = np.concatenate([jacobian / data.sigma, design])
    return float(miss @ miss), linear, every @ every.T, every @ miss


def rules_of(position: Array, axial: float, gamma: Array, exact: bool) -> Any:
    """Return how the axial divergence of each reflection is integrated."""
    return np.full(position.size, EXACT) if exact else gsas2_rules(position, axial, gamma)


def _slopes(position: Array, shl: float, names: tuple[str, ...]) -> Array:
    """Return how position, variance, gamma, area and SH/L of each reflection move with each parameter."""
    theta = np.radians(position) / 2
    tan, cos = np.tan(theta), np.cos(theta)
    slopes = np.zeros((len(names), position.size, 5))
    of: dict[str, tuple[int, Array | float]] = {
        "zero": (0, 1.0),
        "U": (1, tan**2),
        "V": (1, tan),
        "W": (1, 1.0),
        "X": (2, 1 / cos),
        "Y": (2, tan),
        "SHL": (4, 1.0),
    }
    for row, name in zip(slopes, names, strict=True):
        column, value = of[name]
        row[:, column] = value
    return slopes


def _without_size(
    values: dict[str, float],
    covariance: Array,
    names: tuple[str, ...],
    size: float,
    size_error: float,
    wavelength: float,
) -> tuple[dict[str, float], Array]:
    """Take the broadening by crystallites of a size (um) out of X."""
    if not (math.isfinite(size) and size > 0 and math.isfinite(size_error) and size_error >= 0):
        raise CalibrationError("size", f"is {size} ± {size_error} um", "it is above 0")
    if "X" not in names:
        raise CalibrationError("size", "broadens X, which is not varied", "vary X, or leave the size out")
    broadening = 1.8 * wavelength / (math.pi * size)
    index = names.index("X")
    covariance = covariance.copy()
    covariance[index, index] += (broadening * size_error / size) ** 2
    left = values["X"] - broadening
    if left < -3 * math.sqrt(covariance[index, index]):
        raise CalibrationError(
            "size",
            f"of {size:g} um makes X {broadening:.3f} centideg, {values['X']:.3f} were found",
            "is it the size of this calibrant, in um?",
        )
    return {**values, "X": left}, covariance
