"""Background models below the oxidised-oxygen feature: what the bands would emit there without it.

The feature (523.7 eV) sits on the flank of the TM-O bands (525 eV), which broaden and move on charging: what
a pristine spectrum, subtracted, leaves behind is not the feature alone. Three models of the bands are stated
here. None is right; how far they disagree says how well the area is known (docs/theory/rixs-features.md).

``local``
    A cubic through the spectrum of the window on both sides of the feature.
``reference``
    The bands of a reference state, scaled, moved and stretched to fit on both sides of the feature.
``fit``
    Two bands of one shape for all excitation energies, free in height at each, with the feature on top: the
    rows beside the resonance tell the shape below it.

Every estimate is a linear functional of the map near its own value, area ≈ Σ w I. The weights carry the
counting errors, the correlation of the models with each other, and the errors of the axes, all exactly to
first order; that includes what the fitted parameters contribute.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from beamline.errors import ConfigError, FitError
from rixs.cuts import integration_weights
from rixs.yields import bin_weights

if TYPE_CHECKING:
    import xarray as xr

Array = np.ndarray[Any, np.dtype[np.float64]]

BESIDE = (521.5, 525.8)
"""Emission (eV) out to which the cubic of ``local`` is fitted."""

FLANK = (520.5, 526.2)
"""Emission (eV) out to which ``reference`` is fitted: farther out the bands change by more than a width."""

CHANGE = (0.1, 0.1)
"""How far charging moves (eV) and stretches (relative) the bands of a reference: a measurement too."""

BANDS = (519.5, 528.0)
"""Emission (eV) of the bands, as far as ``fit`` looks."""

MARGIN = 0.15
"""Emission (eV) on either side of the feature's range that still belongs to it."""

ROWS = 1.5
"""Excitation (eV) on either side of the window that ``fit`` takes in."""

ELASTIC = 1.8
"""Energy loss (eV) below which the elastic line and what is beside it are left out of ``fit``."""

CENTER, CENTER_ERROR = 523.7, 0.1
"""Emission of the feature (eV), and how far it may be off: a measurement among others in ``fit``."""

WIDTH, WIDTH_ERROR = 0.75, 0.1
"""The same of its full width at half maximum, resolution included."""

START = (525.0, 3.0, 526.8, 1.5)
"""Centres and widths (eV) of the two bands to begin with."""

FWHM = 2 * np.sqrt(2 * np.log(2))


@dataclass(frozen=True)
class Region:
    """The part of a map that is looked at, and what is integrated of it.

    Attributes
    ----------
    excitation, emission
        Axes, eV.
    intensity, errors
        (excitation, emission), per eV.
    rows, bins
        Weights of the integrals over the window and over the feature.
    limits, feature
        The window and the feature, eV.
    """

    excitation: Array
    emission: Array
    intensity: Array
    errors: Array
    rows: Array
    bins: Array
    limits: tuple[float, float]
    feature: tuple[float, float]

    @classmethod
    def of(cls, rmap: xr.Dataset, limits: tuple[float, float], feature: tuple[float, float]) -> Region:
        """Cut the region out of a map.

        Raises
        ------
        ConfigError
            The map does not cover the window, or the emission the models need.
        FitError
            The map has no errors, or gaps in this region.
        """
        excitation, emission = rmap["excitation_energy"].values, rmap["emission_energy"].values
        if not (excitation[0] <= limits[0] < limits[1] <= excitation[-1]):
            raise ConfigError(
                f"window {limits[0]} to {limits[1]} eV",
                f"is not within the map's {excitation[0]:.3f} to {excitation[-1]:.3f} eV",
            )
        if emission[0] > BESIDE[0] or emission[-1] < BESIDE[1]:
            raise ConfigError(
                "map",
                f"covers emission from {emission[0]:.2f} to {emission[-1]:.2f} eV",
                f"the bands below the feature need {BESIDE[0]} to {BESIDE[1]} eV",
            )
        if "intensity_errors" not in rmap:
            raise FitError("map", "has no errors", "make it of images, or of spectra with a gain")
        near = (excitation >= limits[0] - ROWS) & (excitation <= limits[1] + ROWS)
        rows = integration_weights(excitation, *limits)
        near |= rows > 0
        seen = (emission >= BANDS[0]) & (emission <= BANDS[1])
        part = np.ix_(near, seen)
        values, errors = rmap["intensity"].values[part], rmap["intensity_errors"].values[part]
        used = rows[near] > 0
        if not np.isfinite(values[used]).all():
            raise FitError(
                "map",
                f"has gaps at {BANDS[0]} to {BANDS[1]} eV emission within the window",
                "measure those points again, or narrow the window",
            )
        whole = np.isfinite(values).all(axis=1)
        bins = bin_weights(emission, *feature)[seen]
        return cls(
            excitation[near][whole],
            emission[seen],
            values[whole],
            errors[whole],
            rows[near][whole],
            bins,
            limits,
            feature,
        )

    @property
    def cut(self) -> Array:
        """The spectrum of the window."""
        return np.asarray(self.rows @ self.intensity)

    @property
    def variance(self) -> Array:
        """Its variance."""
        return np.asarray(self.rows**2 @ self.errors**2)

    @property
    def beside(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """The emission that holds none of the feature."""
        lo, hi = self.feature
        return np.asarray((self.emission < lo - MARGIN) | (self.emission > hi + MARGIN))


@dataclass(frozen=True)
class Estimate:
    """The area of the feature above one background model.

    Attributes
    ----------
    area
        Intensity times eV of excitation times eV of emission.
    weights
        Its derivative by the intensity of the region.
    background
        The model's spectrum of the window; NaN where it says nothing.
    references
        Its derivative by the window spectra of the reference maps, one after the other.
    """

    area: float
    weights: Array
    background: Array
    references: Array


def local(region: Region, references: Sequence[Region] = ()) -> Estimate:
    """Return the area above a cubic through both sides of the feature."""
    e = region.emission
    near = region.beside & (e >= BESIDE[0]) & (e <= BESIDE[1])
    basis = ((e - CENTER)[:, None]) ** np.arange(4)
    if near.sum() < 8:
        raise FitError("local background", f"has {int(near.sum())} pixels beside the feature, of 8 it needs")
    # Not weighted: weights taken from the counts would draw the curve to where they came out low.
    pseudo = np.zeros((4, e.size))
    pseudo[:, near] = np.linalg.pinv(basis[near])
    background = basis @ (pseudo @ region.cut)
    functional = region.bins - (region.bins @ basis) @ pseudo
    area = float(functional @ region.cut)
    background[(e < BESIDE[0]) | (e > BESIDE[1])] = np.nan
    return Estimate(area, np.outer(region.rows, functional), background, np.zeros(0))


def reference(region: Region, references: Sequence[Region]) -> Estimate:
    """Return the area above the bands of reference maps, scaled, moved and stretched to fit beside it.

    The bands of the reference are taken from a fit of two Gaussians to its spectrum of the window: its own
    counting noise, stretched, would look like a change of shape.
    """
    from scipy.optimize import least_squares

    e = region.emission
    near = region.beside & (e >= FLANK[0]) & (e <= FLANK[1])
    sigma = np.sqrt(_smooth(region.variance))[near]
    source = np.concatenate([r.emission for r in references])
    known = np.concatenate([r.cut for r in references])
    noise = np.sqrt(np.concatenate([_smooth(r.variance) for r in references]))

    def bands(e: Array, q: Array) -> Array:
        return np.asarray(q[:2] @ _gaussians(e, q[2:]))

    def model(p: Array, q: Array) -> Array:
        """Return the bands q, scaled by p0, moved by p1 and stretched by 1 + p2 around the feature."""
        return np.asarray(p[0] * bands(CENTER + (e - p[1] - CENTER) / (1 + p[2]), q))

    height = float(known.max())
    begin = np.array([2 * height, 0.5 * height, *START])
    room = np.array([5 * height, 5 * height, 1.5, 1.5, 1.2, 0.9])
    q = least_squares(
        lambda q: (bands(source, q) - known) / noise,
        begin,
        bounds=(np.maximum(begin - room, [0, 0, *(begin - room)[2:]]), begin + room),
        x_scale=room,
    ).x
    found = least_squares(
        lambda p: np.append((model(p, q) - region.cut)[near] / sigma, p[1:] / CHANGE),
        [float(region.cut[near].sum() / model(np.array([1.0, 0, 0]), q)[near].sum()), 0.0, 0.0],
        bounds=([0, -1.0, -0.5], [np.inf, 1.0, 1.0]),
        x_scale=[0.1, 0.1, 0.1],
    )
    p = found.x

    def slope(p: Array, q: Array) -> Array:
        """Return the derivative of chi²/2 by p, which the fit makes zero."""
        jacobian = _derivatives(lambda p: model(p, q), p, (1e-4,) * 3)
        misfit = (model(p, q) - region.cut)[near] / sigma**2
        return np.asarray(misfit @ jacobian[near] + np.append(0, p[1:] / np.square(CHANGE)))

    # Where the flank has a feature of its own the misfit curves: the whole second derivative, not Jᵀ J.
    curvature = _derivatives(lambda p: slope(p, q), p, (1e-3,) * 3)
    jacobian = _derivatives(lambda p: model(p, q), p, (1e-4,) * 3)
    answer = np.linalg.solve(curvature.T, region.bins @ jacobian)
    functional = region.bins.copy()
    functional[near] -= jacobian[near] @ answer / sigma**2
    background = model(p, q)
    steps = (1e-4 * height, 1e-4 * height, *[1e-4] * 4)
    direct = region.bins @ _derivatives(lambda q: model(p, q), q, steps)
    to_bands = answer @ _derivatives(lambda q: slope(p, q), q, steps) - direct
    of_bands = _derivatives(lambda q: bands(source, q), q, steps)
    to_references = _projected(to_bands, of_bands, np.full(source.size, True), noise)
    area = float(region.bins @ (region.cut - background))
    background[(e < FLANK[0]) | (e > FLANK[1])] = np.nan
    return Estimate(area, np.outer(region.rows, functional), background, to_references)


def fit(region: Region, references: Sequence[Region] = ()) -> Estimate:
    """Return the area in a fit of two bands and the feature to all rows around the window."""
    from scipy.optimize import least_squares

    e, y = region.emission, region.intensity
    inside = (region.excitation[:, None] - e) > ELASTIC
    variance = _smooth(region.errors**2)
    prior = np.array([CENTER, WIDTH]), np.array([CENTER_ERROR, WIDTH_ERROR])

    def shapes(p: Array) -> Array:
        """Return bands and feature (3, emission), of area 1."""
        return _gaussians(e, p)

    def heights(p: Array) -> Array:
        """Return the heights (row, 3) that fit best with these shapes."""
        basis = shapes(p)
        weight = inside / variance
        normal = np.einsum("ie,ke,le->ikl", weight, basis, basis)
        # A row whose elastic line covers a band leaves it open: the least trace of a ridge keeps it small.
        normal += 1e-9 * np.trace(normal, axis1=1, axis2=2)[:, None, None] * np.eye(3)
        right = np.einsum("ie,ie,ke->ik", weight, y, basis)
        return np.asarray(np.linalg.solve(normal, right[..., None])[..., 0])

    def residuals(p: Array) -> Array:
        misfit = (heights(p) @ shapes(p) - y) / np.sqrt(variance)
        return np.concatenate([misfit[inside], (p[4:] - prior[0]) / prior[1]])

    best = start = np.array([*START, CENTER, WIDTH])
    room = np.array([1.5, 1.5, 1.2, 0.9, 0.4, 0.35])
    for _ in range(2):
        # Variances taken from the counts draw a fit to where they came out low; those of the fit do not.
        best = least_squares(residuals, best, bounds=(start - room, start + room), x_scale=room).x
        variance = _of_model(region.errors**2, heights(best) @ shapes(best))
    height = heights(best)

    def area_of(p: Array, height: Array) -> float:
        return float(region.rows @ height[:, 2] * (region.bins @ shapes(p)[2]))

    # All parameters at once, shapes first, then the heights of one row after the other.
    rows = len(region.excitation)
    by_shape = _derivatives(lambda p: (height @ shapes(p)).ravel(), best, (1e-4,) * 6)
    by_height = np.zeros((rows, e.size, rows, 3))
    by_height[np.arange(rows), :, np.arange(rows)] = shapes(best).T
    jacobian = np.hstack([by_shape, by_height.reshape(rows * e.size, -1)])
    gradient = np.concatenate(
        [
            _derivatives(lambda p: np.array([area_of(p, height)]), best, (1e-4,) * 6)[0],
            np.outer(region.rows, [0, 0, region.bins @ shapes(best)[2]]).ravel(),
        ]
    )
    weight = (inside / variance).ravel()
    information = jacobian.T @ (weight[:, None] * jacobian)
    information[[4, 5], [4, 5]] += prior[1] ** -2.0
    information += 1e-9 * np.diag(np.diag(information))
    weights = np.linalg.solve(information, gradient) @ jacobian.T * weight
    background = region.rows @ (height[:, :2] @ shapes(best)[:2])
    return Estimate(area_of(best, height), weights.reshape(rows, e.size), background, np.zeros(0))


MODELS: Mapping[str, Callable[[Region, Sequence[Region]], Estimate]] = {
    "local": local,
    "reference": reference,
    "fit": fit,
}
"""The models by name."""


def _gaussians(e: Array, shape: Array) -> Array:
    """Return Gaussians (line, energy) of area 1; `shape` is centre and FWHM of one after the other."""
    centers, widths = shape[::2, None], shape[1::2, None] / FWHM
    return np.asarray(np.exp(-0.5 * ((e - centers) / widths) ** 2) / (widths * np.sqrt(2 * np.pi)))


def _projected(gradient: Array, jacobian: Array, near: Any, sigma: Array) -> Array:
    """Return the derivative of gradient @ parameters by the data the parameters were fitted to."""
    weighted = jacobian[near] / sigma[:, None]
    inverse = np.linalg.pinv(weighted) / sigma
    functional = np.zeros(jacobian.shape[0])
    functional[near] = gradient @ inverse
    return functional


def _derivatives(model: Callable[[Array], Array], at: Array, steps: Sequence[float]) -> Array:
    """Return the Jacobian (data, parameter) by central differences."""
    columns = []
    for i, step in enumerate(steps):
        move = np.zeros(at.size)
        move[i] = step
        columns.append((model(at + move) - model(at - move)) / (2 * step))
    return np.array(columns).T


def _smooth(variance: Array) -> Array:
    """Return variances averaged over 5 pixels: weights must not follow the noise they weigh."""
    from scipy.ndimage import uniform_filter1d

    return np.asarray(uniform_filter1d(variance, 5, axis=-1, mode="nearest"))


def _of_model(variance: Array, model: Array) -> Array:
    """Return the variance of photons that came as a model says: a floor, and what follows the model."""
    floor = _smooth(variance).min(axis=1, keepdims=True)
    light = np.maximum(model, 0)
    slope = (variance - floor).sum(axis=1, keepdims=True) / np.maximum(
        light.sum(axis=1, keepdims=True), 1e-300
    )
    return np.asarray(floor + np.maximum(slope, 0) * light)
