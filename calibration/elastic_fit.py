"""One fit of the elastic lines of a whole scan: energy axis, drift, and what resonates beside the lines.

Around the elastic line every spectrum is a Gaussian of the instrument's width on a straight background; above
the edge the background is a parabola, and a second, broader Gaussian stands beside the line on the side of
the energy losses, the low-loss feature, which would draw it. Heights and backgrounds are free in every
spectrum and eliminated (variable projection, G. Golub and V. Pereyra, Inverse Problems 19 (2003) R1; Jacobian
of Kaufman). Common to all spectra are the width of the line, place and width of the feature, and the axis

    E(x) = c₀ / (1 − c₁ t/c₀) + (c₂ − c₁²/c₀) t²,   t = x − x̄ − d τ,

linear in wavelength but for the aberration in its curvature c₂, with the drift d over the scan (τ from −1/2
to 1/2). Three things enter as measurements beside the spectra: c₂ = c₁²/c₀ within `OPTICS` of it, the drift
as 0 within what is stated, and each excitation energy as known to `READ_BACK`. Where the scan itself cannot
tell (drift and dispersion in a scan of one direction), they decide, and the covariance says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from calibration.elastic import Line

Array = np.ndarray[Any, np.dtype[np.float64]]
Indices = np.ndarray[Any, np.dtype[np.intp]]

OPTICS = 0.1
"""Relative uncertainty of the curvature that the optics gives."""

READ_BACK = 0.005
"""Standard deviation (eV) of a stated excitation energy about the true one, beside shift and drift."""

WINDOW = (-5.0, 5.0)
"""Range around the line that is fitted, in its standard deviations, where it is alone."""

FEATURE_WINDOW = (-14.0, 5.0)
"""The same with a feature beside it; the first number is the side of the losses."""

FEATURE = ((-6.0, 3.0), (2.5, 1.0))
"""Place and width of the feature, with how far they may be off, in standard deviations of the line."""

ROUNDS = 30


@dataclass(frozen=True)
class ElasticFit:
    """What the lines say.

    Attributes
    ----------
    axis, covariance
        c₀, c₁, c₂ and d, and their covariance.
    center
        x̄, px.
    spectra, positions, errors
        The spectra used, and the position of each one's line by itself with its error (px), drift included.
    chi2_lines, chi2_spectra
        Of the positions about the axis, and reduced, of the spectra.
    """

    axis: Array
    covariance: Array
    center: float
    spectra: Indices
    positions: Array
    errors: Array
    chi2_lines: float
    chi2_spectra: float


def energy_of(axis: Array, t: Array) -> Array:
    """Return the energy (eV) at `t` pixels from the centre."""
    c0, c1, c2 = axis[:3]
    return np.asarray(c0 / (1 - c1 * t / c0) + (c2 - c1**2 / c0) * t**2)


def dispersion_of(axis: Array, t: Array) -> Array:
    """Return dE/dx (eV/px) at `t` pixels from the centre."""
    c0, c1, c2 = axis[:3]
    return np.asarray(c1 / (1 - c1 * t / c0) ** 2 + 2 * (c2 - c1**2 / c0) * t)


def axis_gradient(axis: Array, t: Array) -> Array:
    """Return the derivatives of the energy at `t` with respect to c₀, c₁ and c₂."""
    c0, c1, _ = axis[:3]
    u = 1 - c1 * t / c0
    by_c0 = 1 / u - (c1 * t / c0) / u**2 + c1**2 * t**2 / c0**2
    by_c1 = t / u**2 - 2 * c1 * t**2 / c0
    return np.stack([by_c0, by_c1, t**2], axis=-1)


def fit(
    pixel: Array,
    energy: Array,
    intensity: Array,
    errors: Array,
    clock: Array,
    lines: list[Line],
    alone: Indices,
    drift: float,
) -> ElasticFit | None:
    """Fit the elastic lines of the spectra.

    Parameters
    ----------
    pixel, energy, clock
        Pixel coordinates, excitation energies (eV) and times (−1/2 to 1/2) of the spectra.
    intensity, errors
        Spectra (frame, pixel) and their standard deviations.
    lines
        Where the lines are, about; only their spectra are fitted.
    alone
        Spectra in which no feature stands beside the line.
    drift
        Standard deviation of the drift over the scan, px.

    Returns
    -------
    ElasticFit or None
        None where a line is too close to the end of the detector in all but two spectra, or the fit fails.
    """
    sigma = float(np.median([line[3] for line in lines]))
    start, center = _start(lines, energy)
    sign = np.sign(start[1])
    lonely = all(line[0] in alone for line in lines)
    low, high = WINDOW if lonely else FEATURE_WINDOW
    reach = np.array(sorted((sign * low * sigma, sign * high * sigma)))
    reach = np.array([min(reach[0], -3.0), max(reach[1], 3.0)])
    rows = [i for i, place, *_ in lines if pixel[0] <= place + reach[0] and place + reach[1] <= pixel[-1]]
    if len(rows) < 3:
        return None
    frames = np.array(rows, dtype=np.intp)
    places = np.array([line[1] for line in lines if line[0] in set(rows)])
    offsets = np.arange(int(np.floor(reach[0])), int(np.ceil(reach[1])) + 1)
    index = np.rint(places - pixel[0]).astype(int)[:, None] + offsets
    index = np.clip(index, 0, pixel.size - 1)
    model = _Model(
        x=pixel[index],
        y=np.take_along_axis(intensity[frames], index, axis=1),
        weight=1 / _smooth(np.take_along_axis(errors[frames], index, axis=1), sigma),
        energy=energy[frames],
        clock=clock[frames],
        feature=~np.isin(frames, alone),
        center=center,
        sign=float(sign),
        drift=max(drift, 1e-6),
    )
    seen = np.isfinite(model.y) & np.isfinite(model.weight)
    model.y[~seen] = 0.0
    model.weight[~seen] = 0.0
    theta = np.concatenate([start, [0.0, np.log(sigma), FEATURE[0][0], np.log(FEATURE[1][0])]])
    theta = np.concatenate([theta, np.zeros(frames.size)])
    try:
        theta, normal, chi2 = _minimise(model, theta)
        covariance = np.asarray(np.linalg.inv(normal), dtype=np.float64)
    except np.linalg.LinAlgError:
        return None
    positions, alone_errors = _positions(model, theta)
    axis = theta[:4]
    expected = model.positions(theta, with_read_back=False)
    known = np.hypot(alone_errors, READ_BACK / abs(axis[1]))
    return ElasticFit(
        axis=axis,
        covariance=covariance[:4, :4],
        center=center,
        spectra=frames,
        positions=positions,
        errors=alone_errors,
        chi2_lines=float((((positions - expected) / known) ** 2).sum()),
        chi2_spectra=chi2 / max(int(seen.sum()) - 4 * frames.size - 7, 1),
    )


COMMON = 7
"""c₀, c₁, c₂, d, log width of the line, place and log width of the feature; then the read-backs."""


@dataclass
class _Model:
    x: Array
    y: Array
    weight: Array
    energy: Array
    clock: Array
    feature: np.ndarray[Any, np.dtype[np.bool_]]
    center: float
    sign: float
    drift: float

    def positions(self, theta: Array, with_read_back: bool = True) -> Array:
        """Return the position (px) of the line in each spectrum."""
        energy = self.energy + (theta[COMMON:] if with_read_back else 0.0)
        t = (energy - theta[0]) / theta[1]
        for _ in range(20):
            step = (energy_of(theta, t) - energy) / dispersion_of(theta, t)
            t = t - step
            if np.abs(step).max() < 1e-9:
                break
        return np.asarray(self.center + t + theta[3] * self.clock)

    def residuals(self, theta: Array, jacobian: bool) -> tuple[Array, Array | None]:
        """Return the weighted residuals (spectrum, pixel) and their derivatives (…, common and read-back)."""
        place = self.positions(theta)
        sigma, off, wide = np.exp(theta[4]), theta[5], np.exp(theta[6])
        z = (self.x - place[:, None]) / sigma
        line = np.exp(-0.5 * z**2)
        q = (self.sign * z - off) / wide
        other = np.exp(-0.5 * q**2) * self.feature[:, None]
        base = z / 10
        bend = base**2 * self.feature[:, None]
        design = np.stack([line, other, np.ones_like(z), base, bend], axis=-1) * self.weight[..., None]
        # A column without a feature must not make the system singular.
        basis, triangle = np.linalg.qr(design)
        diagonal = np.abs(np.einsum("fkk->fk", triangle))
        basis = basis * (diagonal > 1e-9 * diagonal.max(axis=1, keepdims=True))[:, None, :]
        data = self.y * self.weight
        inside = np.einsum("fwk,fw->fk", basis, data)
        rest = data - np.einsum("fwk,fk->fw", basis, inside)
        if not jacobian:
            return rest, None
        safe = np.where(diagonal > 1e-9 * diagonal.max(axis=1, keepdims=True), 0.0, 1.0)
        triangle = triangle + np.einsum("fk,kl->fkl", safe, np.eye(5))
        height = np.linalg.solve(triangle, inside[..., None])[..., 0]
        # Derivatives of the model by place, widths and offset, heights fixed; the background does not move.
        rise = height[:, :1] * line * z * self.weight
        swell = height[:, 1:2] * other * q * self.weight
        by_place = (rise + self.sign * swell / wide) / sigma
        by_width = rise * z + swell * (self.sign * z) / wide
        by_off = swell / wide
        by_wide = swell * q
        columns = np.stack([by_place, by_width, by_off, by_wide], axis=-1)
        columns = columns - np.einsum("fwk,fvk,fvc->fwc", basis, basis, columns, optimize=True)
        t = place - self.center - theta[3] * self.clock
        slope = dispersion_of(theta, t)
        place_by = np.column_stack([-axis_gradient(theta, t) / slope[:, None], self.clock])
        full = np.empty((*self.y.shape, COMMON + 1))
        full[..., :4] = -columns[..., :1] * place_by[:, None, :]
        full[..., 4:COMMON] = -columns[..., 1:]
        full[..., COMMON] = -columns[..., 0] / slope[:, None]
        return rest, full

    def priors(self, theta: Array) -> tuple[Array, Array]:
        """Return the weighted residuals of what is known beside the spectra, and their derivatives."""
        c0, c1, c2 = theta[:3]
        optics = c1**2 / c0
        size = 4 + self.clock.size
        rest, slope = np.zeros(size), np.zeros((size, theta.size))
        rest[0] = (c2 / optics - 1) / OPTICS
        slope[0, :3] = np.array([c2 / c1**2, -2 * c2 * c0 / c1**3, c0 / c1**2]) / OPTICS
        rest[1], slope[1, 3] = theta[3] / self.drift, 1 / self.drift
        (place, about), (width, factor) = FEATURE
        rest[2], slope[2, 5] = (theta[5] - place) / about, 1 / about
        spread = np.log1p(factor / width)
        rest[3], slope[3, 6] = (theta[6] - np.log(width)) / spread, 1 / spread
        rest[4:] = theta[COMMON:] / READ_BACK
        slope[4:, COMMON:] = np.eye(self.clock.size) / READ_BACK
        return rest, slope


def _minimise(model: _Model, theta: Array) -> tuple[Array, Array, float]:
    """Return the best parameters, their normal matrix, and χ² of the spectra (Levenberg and Marquardt)."""

    def cost(at: Array) -> float:
        return float((model.residuals(at, False)[0] ** 2).sum() + (model.priors(at)[0] ** 2).sum())

    damping, now = 1e-3, cost(theta)
    for _ in range(ROUNDS):
        rest, slope = model.residuals(theta, True)
        assert slope is not None  # noqa: S101 - asked for
        prior, prior_slope = model.priors(theta)
        normal = _normal(slope) + prior_slope.T @ prior_slope
        by_spectrum = np.einsum("fwc,fw->fc", slope, rest)
        gradient = np.append(by_spectrum[:, :COMMON].sum(axis=0), by_spectrum[:, COMMON])
        gradient += prior_slope.T @ prior
        moved = False
        for _ in range(8):
            step = np.linalg.solve(normal + damping * np.diag(np.diag(normal)), -gradient)
            there = cost(theta + step)
            if np.isfinite(there) and there <= now:
                gain = now - there
                theta, now, damping, moved = theta + step, there, damping / 10, True
                break
            damping *= 10
        if not moved or gain < 1e-6 * max(now, 1.0):
            break
    rest, slope = model.residuals(theta, True)
    assert slope is not None  # noqa: S101 - asked for
    prior_slope = model.priors(theta)[1]
    return theta, _normal(slope) + prior_slope.T @ prior_slope, float((rest**2).sum())


def _normal(slope: Array) -> Array:
    """Return the normal matrix of all parameters from derivatives (spectrum, pixel, common and read-back)."""
    blocks = np.einsum("fwa,fwb->fab", slope, slope, optimize=True)
    frames = np.arange(len(blocks)) + COMMON
    normal = np.zeros((COMMON + len(blocks), COMMON + len(blocks)))
    normal[:COMMON, :COMMON] = blocks[:, :COMMON, :COMMON].sum(axis=0)
    normal[:COMMON, frames] = blocks[:, :COMMON, COMMON].T
    normal[frames, :COMMON] = blocks[:, :COMMON, COMMON]
    normal[frames, frames] = blocks[:, COMMON, COMMON]
    return normal


def _positions(model: _Model, theta: Array) -> tuple[Array, Array]:
    """Return the position of each spectrum's own line, and its error (px), all else as fitted."""
    rest, slope = model.residuals(theta, True)
    assert slope is not None  # noqa: S101 - asked for
    place = model.positions(theta)
    t = place - model.center - theta[3] * model.clock
    by_place = slope[..., COMMON] * dispersion_of(theta, t)[:, None]
    information = (by_place**2).sum(axis=1)
    step = -(by_place * rest).sum(axis=1) / information
    return place + step, np.asarray(1 / np.sqrt(information))


def _start(lines: list[Line], energy: Array) -> tuple[Array, float]:
    """Return c₀, c₁, c₂ of a straight line through the lines, with the curvature of a grating, and x̄."""
    x = np.array([energy[i] for i, *_ in lines])
    position, error = np.array([line[1:3] for line in lines]).T
    weight = 1 / np.hypot(error, np.median(error))
    center = float(np.average(position, weights=weight**2))
    slope, start = np.polyfit(position - center, x, 1, w=weight)
    return np.array([start, slope, slope**2 / start]), center


def _smooth(errors: Array, sigma: float) -> Array:
    """Return errors (spectrum, pixel) whose variance is smoothed over a line's width.

    Weights from the counts of each pixel would prefer pixels that fluctuated low.
    """
    from scipy.ndimage import gaussian_filter1d

    return np.asarray(np.sqrt(gaussian_filter1d(errors**2, sigma, axis=1, mode="nearest")))
