"""How noisy a scan is, from the scan itself.

Absorption files rarely hold what a counting error needs (gains of the amplifiers, several detectors in
parallel), so the noise is taken from the scatter of neighbouring points. Each point is compared with the
cubic through its four neighbours: a smooth μ(E) leaves nothing of itself, white noise of standard deviation σ
leaves a residual of σ √(1 + Σ w²) with w the interpolation weights (pseudo-residuals: T. Gasser, L. Sroka,
C. Jennen-Steinmetz, Biometrika 73 (1986) 625, here of third order instead of first). σ is the root mean
square of those within four times their robust spread, once below the edge and once above it, because the
absorption, and with it the noise, differs there. Noise that is the same in neighbouring points (smoothed,
interpolated or merged scans, drifts) is not seen: σ is then too small.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[np.float64]]

MARGIN = 20.0
"""Points closer to the edge than this (eV) are not used: there μ(E) bends too fast for the cubic."""


def point_noise(energy: Array, mu: Array, e0: float) -> Array:
    """Return the standard deviation of each point of μ(E): one value below `e0`, one above.

    Parameters
    ----------
    energy
        Axis in eV, increasing, shape (energy,).
    mu
        Absorption, same shape.
    e0
        Edge energy in eV.
    """
    residuals = pseudo_residuals(energy, mu)
    # rounding is noise too: what is printed with six digits has no smaller error than that
    floor = max(1e-9 * float(np.ptp(mu)), float(np.finfo(float).tiny))
    inner = energy[2:-2]
    below, above = residuals[inner < e0 - MARGIN], residuals[inner > e0 + MARGIN]
    pooled = _scale(residuals)
    sigma_below = _scale(below) if below.size >= 10 else pooled
    sigma_above = _scale(above) if above.size >= 10 else pooled
    return np.maximum(np.where(energy < e0, sigma_below, sigma_above), floor)


def pseudo_residuals(x: Array, y: Array) -> Array:
    """Return (yᵢ - cubic through its four neighbours) / √(1 + Σ w²), shape (energy - 4,)."""
    steps = [x[2 + j : x.size - 2 + j] for j in (-2, -1, 1, 2)]
    centre = x[2:-2]
    value, norm = y[2:-2].copy(), np.ones(centre.size)
    for i, j in enumerate((-2, -1, 1, 2)):
        weight = np.ones(centre.size)
        for other in range(4):
            if other != i:
                weight = weight * (centre - steps[other]) / (steps[i] - steps[other])
        value -= weight * y[2 + j : x.size - 2 + j]
        norm += weight**2
    return np.asarray(value / np.sqrt(norm))


def _scale(residuals: Array) -> float:
    """Return the standard deviation without the few points that are no noise (edges, glitches).

    The median alone would do, but knows σ from n points only half as well.
    """
    if not residuals.size:
        return 0.0
    centre = 1.4826 * float(np.median(np.abs(residuals)))
    kept = residuals[np.abs(residuals) <= 4 * centre]
    return float(np.sqrt(np.mean(kept**2)))
