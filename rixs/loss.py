"""The low-loss side of the elastic line: loss spectra of a window, and what lies beside the line.

Oxidised oxygen has a partner next to the elastic line, a vibrational progression that few instruments
resolve (molecular O₂: 0.192 eV; R. A. House et al., Nature 577 (2020) 502). The elastic line is fitted
together with a progression under an envelope, and its area is what is left of the data when line and
background are taken off. The spacing is only fitted where lines stand apart: FWHM < 0.6 × spacing. Else it
is fixed, and the result says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from beamline import provenance
from beamline.errors import ConfigError, FitError
from rixs.cuts import integration_weights
from rixs.yields import bin_edges, bin_weights

if TYPE_CHECKING:
    import xarray as xr

Array = np.ndarray[Any, np.dtype[np.float64]]

SPACING = 0.192
"""Spacing (eV) of the progression of molecular O₂."""

RESOLVED = 0.6
"""Lines narrower than this part of their spacing stand apart."""

FITTED = (-1.0, 2.2)
"""Energy loss (eV) that is fitted."""

INTEGRATED = (0.1, 1.6)
"""Energy loss (eV) over which the feature is integrated."""

LINES = 12
"""Lines of the progression."""

ENVELOPE = (0.6, 0.3), (0.2, 0.1)
"""Centre and standard deviation (eV) of the envelope, and how far they may be off: measurements like
others."""

FWHM = 2 * np.sqrt(2 * np.log(2))


@dataclass(frozen=True)
class LossFit:
    """The low-loss feature above one background.

    Attributes
    ----------
    area
        Integral of the spectrum above elastic line and background, per `INTEGRATED`.
    weights
        Its derivative by the loss spectrum.
    fwhm
        Of the elastic line, eV.
    spacing, spacing_error
        Of the progression, eV; the error is NaN where the spacing was fixed.
    model
        The fitted spectrum.
    rest
        Elastic line and background alone.
    """

    area: float
    weights: Array
    fwhm: float
    spacing: float
    spacing_error: float
    model: Array
    rest: Array


@provenance.step("rixs.loss_window", returns="rixs.cut")
def loss_window(rmap: xr.Dataset, lo: float, hi: float) -> xr.Dataset:
    """Integrate a map over excitation energies from `lo` to `hi` (eV) at equal energy loss.

    Parameters
    ----------
    rmap
        Kind ``rixs.map``.
    lo, hi
        Window, eV; within the excitation energies of the map.

    Returns
    -------
    Dataset
        ``intensity`` (energy_loss), on bins as wide as a pixel at the elastic line. A pixel is shared among
        the bins it overlaps, which conserves counts; its variance is split with it, so that errors are right
        for sums of a few bins. A bin some point does not cover is left out.

    Raises
    ------
    ConfigError
        The window is empty, or reaches beyond the map.
    """
    import xarray as xr

    energy = rmap["excitation_energy"].values
    if not energy[0] <= lo < hi <= energy[-1]:
        raise ConfigError(
            f"window {lo} to {hi} eV", f"is not within the map's {energy[0]:.3f} to {energy[-1]:.3f} eV"
        )
    weights = integration_weights(energy, lo, hi)
    used = np.flatnonzero(weights)
    borders = _borders(rmap, used, (lo + hi) / 2, whole=True)
    values, variances = _rebinned(rmap, used, borders)
    total = weights[used] @ values
    units = f"{rmap['intensity'].attrs['units']}*eV".replace("/eV*eV", "")
    cut = xr.Dataset(
        {"intensity": ("energy_loss", total, {"units": units})},
        coords={"energy_loss": (borders[1:] + borders[:-1]) / 2},
        attrs={
            **{key: value for key, value in rmap.attrs.items() if key not in ("kind", "history")},
            "window": f"{lo:g} to {hi:g} eV excitation",
            "window_from": float(lo),
            "window_to": float(hi),
        },
    )
    if "intensity_errors" in rmap:
        cut["intensity_errors"] = ("energy_loss", np.sqrt(weights[used] ** 2 @ variances))
    return cut.isel(energy_loss=np.flatnonzero(np.isfinite(total)))


@provenance.step("rixs.loss_map", returns="rixs.loss_map")
def loss_map(rmap: xr.Dataset, step: float | None = None) -> xr.Dataset:
    """Put a map on a common axis of energy loss: what runs along the elastic line stands upright.

    Parameters
    ----------
    rmap
        Kind ``rixs.map``.
    step
        Width of the bins (eV), of which one is centred at zero; that of a pixel in the middle of the elastic
        line where not given.

    Returns
    -------
    Dataset
        ``intensity`` (excitation_energy, energy_loss), ascending, per eV; ``emission_energy`` is that of each
        bin. Pixels are shared among bins as in `loss_window`, and so are their variances. A bin that a point
        does not cover is NaN there. Axes may be off together, the energy loss is not: a correction of the
        excitation energies moves both.

    Raises
    ------
    ConfigError
        The step is not positive.
    """
    import xarray as xr

    if step is not None and not step > 0:
        raise ConfigError(f"step {step:g} eV", "is not positive")
    energy = rmap["excitation_energy"].values
    points = np.arange(energy.size)
    borders = _borders(rmap, points, float(energy.mean()), whole=False, step=step)
    values, variances = _rebinned(rmap, points, borders)
    covered = np.flatnonzero(np.isfinite(values).any(axis=0))
    loss = (borders[1:] + borders[:-1]) / 2
    dims = ("excitation_energy", "energy_loss")
    result = xr.Dataset(
        {"intensity": (dims, values, rmap["intensity"].attrs)},
        coords={
            **{
                name: coord
                for name, coord in rmap.coords.items()
                if coord.dims in (("excitation_energy",), ())
            },
            "energy_loss": loss,
            "emission_energy": (dims, energy[:, None] - loss),
        },
        attrs={key: value for key, value in rmap.attrs.items() if key not in ("kind", "history")},
    )
    if "intensity_errors" in rmap:
        result["intensity_errors"] = (dims, np.sqrt(variances))
    return result.isel(energy_loss=slice(covered[0], covered[-1] + 1))


def fit_low_loss(cut: xr.Dataset, degree: int) -> LossFit:
    """Fit elastic line, progression and a polynomial background to a loss spectrum.

    Parameters
    ----------
    cut
        Of `loss_window`, with errors.
    degree
        Of the background.

    Raises
    ------
    FitError
        The spectrum has no errors, too few bins, or no elastic line.
    """
    if "intensity_errors" not in cut:
        raise FitError("loss spectrum", "has no errors")
    loss = cut["energy_loss"].values
    near = (loss >= FITTED[0]) & (loss <= FITTED[1])
    if near.sum() < 12:
        raise FitError("loss spectrum", f"has {int(near.sum())} bins at {FITTED[0]} to {FITTED[1]} eV")
    x, y = loss[near], cut["intensity"].values[near]
    sigma = np.sqrt(_smooth(cut["intensity_errors"].values[near] ** 2))
    line = np.abs(x) < 0.3
    height = float(y[line].max())
    if height < 5 * sigma[line].max():
        raise FitError("loss spectrum", "has no elastic line", "is the excitation energy right?")
    step = float(np.median(np.diff(x)))
    begin = np.array([height, 0.0, max(0.12, step), 0.05 * height, *ENVELOPE[0], SPACING])
    begin = np.append(begin, np.zeros(degree + 1))
    found = _solve(x, y, sigma, begin, free_spacing=False)
    if FWHM * found[2] < RESOLVED * SPACING:
        found, free = _solve(x, y, sigma, found, free_spacing=True), True
    else:
        free = False
    parameters = [i for i in range(begin.size) if free or i != 6]
    jacobian = _derivatives(x, found)[:, parameters]
    rest_of = _derivatives(x, found, rest=True)[:, parameters]
    information = (jacobian / sigma[:, None] ** 2).T @ jacobian
    for place, error in ((4, ENVELOPE[1][0]), (5, ENVELOPE[1][1])):
        information[place, place] += error**-2.0
    covariance = np.linalg.inv(information + 1e-12 * np.diag(np.diag(information)))
    integral = bin_weights(x, *INTEGRATED)
    functional = integral - (integral @ rest_of) @ covariance @ (jacobian / sigma[:, None] ** 2).T
    rest = _model(x, found, rest=True)
    weights = np.zeros(loss.size)
    weights[near] = functional
    whole = np.full((2, loss.size), np.nan)
    whole[0, near], whole[1, near] = _model(x, found), rest
    error = float(np.sqrt(covariance[6, 6])) if free else float("nan")
    return LossFit(
        float(integral @ (y - rest)), weights, float(FWHM * found[2]), float(found[6]), error, *whole
    )


def _solve(x: Array, y: Array, sigma: Array, begin: Array, free_spacing: bool) -> Array:
    from scipy.optimize import least_squares

    wanted, error = (np.array(part) for part in ENVELOPE)
    scale = np.array([begin[0], 0.05, 0.05, begin[0], 0.2, 0.1, 0.02, *[begin[0]] * (begin.size - 7)])
    least = np.array([0, -0.3, 0.02, -np.inf, 0.1, 0.05, 0.1, *[-np.inf] * (begin.size - 7)])
    most = np.array([np.inf, 0.3, 0.5, np.inf, 1.4, 0.8, 0.3, *[np.inf] * (begin.size - 7)])
    if not free_spacing:
        least[6], most[6] = begin[6] - 1e-9, begin[6] + 1e-9

    def residuals(p: Array) -> Array:
        return np.concatenate([(_model(x, p) - y) / sigma, (p[4:6] - wanted) / error])

    return np.asarray(least_squares(residuals, begin, bounds=(least, most), x_scale=scale).x)


def _model(x: Array, p: Array, rest: bool = False) -> Array:
    """Return elastic line and background, and, unless only the `rest` is asked for, the progression."""
    height, center, width = p[:3]

    def line(at: float) -> Array:
        return np.asarray(np.exp(-0.5 * ((x - at) / width) ** 2))

    value = height * line(center) + np.polynomial.polynomial.polyval(x, p[7:])
    if not rest:
        for n in range(1, LINES + 1):
            value = value + p[3] * np.exp(-0.5 * ((n * p[6] - p[4]) / p[5]) ** 2) * line(center + n * p[6])
    return np.asarray(value)


def _derivatives(x: Array, p: Array, rest: bool = False) -> Array:
    columns = []
    for i in range(p.size):
        move = np.zeros(p.size)
        move[i] = 1e-4 * (max(abs(float(p[0])), 1e-12) if i in (0, 3) or i > 6 else 1.0)
        columns.append((_model(x, p + move, rest) - _model(x, p - move, rest)) / (2 * move[i]))
    return np.array(columns).T


def _borders(
    rmap: xr.Dataset, points: np.ndarray[Any, Any], at: float, whole: bool, step: float | None = None
) -> Array:
    """Return borders of bins of energy loss; of a map (not `whole`), one bin is centred at zero.

    As wide as the pixel at the emission energy `at` where no `step` is given; over what all `points` cover if
    `whole`, else over what any does.
    """
    edges = bin_edges(rmap["emission_energy"].values)
    energy = rmap["excitation_energy"].values[points]
    if step is None:
        step = float(np.diff(edges)[int(np.argmin(np.abs(rmap["emission_energy"].values - at)))])
    if whole:
        first = np.ceil((energy.max() - edges[-1]) / step)
        last = np.floor((energy.min() - edges[0]) / step)
        return np.asarray(step * np.arange(first, last + 1))
    first = np.floor((energy.min() - edges[-1]) / step)
    last = np.ceil((energy.max() - edges[0]) / step)
    return np.asarray(step * (np.arange(first, last + 1) + 0.5))


def _rebinned(rmap: xr.Dataset, points: np.ndarray[Any, Any], borders: Array) -> tuple[Array, Array]:
    """Return intensity and variance (point, bin) of `points` in bins of loss; NaN where not covered."""
    edges = bin_edges(rmap["emission_energy"].values)
    width, step = np.diff(edges), np.diff(borders)
    values = np.full((points.size, step.size), np.nan)
    variances = values.copy()
    for row, i in enumerate(points):
        overlap = _overlap(rmap["excitation_energy"].values[i] - edges[::-1], borders)[:, ::-1]
        intensity = rmap["intensity"].values[i]
        seen = np.isfinite(intensity)
        covered = overlap[:, seen].sum(axis=1) > (1 - 1e-9) * step
        values[row] = np.where(covered, overlap[:, seen] @ intensity[seen] / step, np.nan)
        if "intensity_errors" in rmap:
            share = rmap["intensity_errors"].values[i, seen] ** 2 * width[seen]
            variances[row] = np.where(covered, overlap[:, seen] @ share / step**2, np.nan)
    return values, variances


def _overlap(edges: Array, borders: Array) -> Array:
    """Return how much (eV) of each pixel lies in each bin: (bin, pixel)."""
    right = np.minimum(borders[1:, None], edges[None, 1:])
    left = np.maximum(borders[:-1, None], edges[None, :-1])
    return np.asarray(np.clip(right - left, 0, None))


def _smooth(variance: Array) -> Array:
    from scipy.ndimage import uniform_filter1d

    return np.asarray(uniform_filter1d(variance, 3, mode="nearest"))
