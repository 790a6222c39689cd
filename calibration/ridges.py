"""Ridges of an image: the crests of powder rings, with their normals.

A crest is where the smoothed image has a maximum across its direction of strongest curvature (C. Steger,
IEEE Trans. Pattern Anal. Mach. Intell. 20 (1998) 113); its direction is that of the structure tensor around
it, which averages over the neighbourhood and thereby over noise. No ring has to be closed, and nothing is
assumed about where its centre lies.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, np.dtype[np.float64]]
Mask = np.ndarray[Any, np.dtype[np.bool_]]

LARGEST = 1100
"""Images are binned to at most this many pixels along an axis: crests are sought, not measured, here."""

WIDTHS = (1.0, 2.0)
"""Standard deviations (binned px) of the smoothing; a crest is taken where it stands out more."""

NOISE = 6.0
"""A crest is sharper than so many standard deviations of the curvature of noise."""

MOST = 20000
"""More crests than these say nothing new."""


class Ridges(NamedTuple):
    """Crests: position (px of the image, first pixel from 0 to 1), unit normal (y, x), significance."""

    y: Array
    x: Array
    normal_y: Array
    normal_x: Array
    strength: Array


def find_ridges(signal: np.ndarray[Any, np.dtype[np.float32]], live: Mask) -> Ridges:
    """Return the crests of an image (y, x); those beside dead pixels are left out."""
    factor = max(1, -(-max(signal.shape) // LARGEST))
    values, weight = _binned(signal, live, factor)
    found = [_crests(values, weight, width) for width in WIDTHS]
    y, x, ny, nx, strength = (np.concatenate(column) for column in zip(*found, strict=True))
    if y.size > MOST:
        chosen = np.random.default_rng(0).choice(y.size, MOST, replace=False)
        y, x, ny, nx, strength = y[chosen], x[chosen], ny[chosen], nx[chosen], strength[chosen]
    return Ridges((y + 0.5) * factor, (x + 0.5) * factor, ny, nx, strength)


def _binned(
    signal: np.ndarray[Any, np.dtype[np.float32]], live: Mask, factor: int
) -> tuple[np.ndarray[Any, np.dtype[np.float32]], np.ndarray[Any, np.dtype[np.float32]]]:
    """Return the square root of the mean signal of blocks, and the live part of each."""
    rows, columns = (n // factor * factor for n in signal.shape)
    shape = (rows // factor, factor, columns // factor, factor)
    weight = live[:rows, :columns].reshape(shape).mean(axis=(1, 3), dtype=np.float32)
    total = np.where(live, signal, 0)[:rows, :columns].reshape(shape).mean(axis=(1, 3), dtype=np.float32)
    mean = np.divide(total, weight, out=np.zeros_like(total), where=weight > 0)
    # The square root gives the noise of counts the same height everywhere.
    floor = np.percentile(mean[weight > 0], 0.1) if (weight > 0).any() else 0.0
    return np.sqrt(np.maximum(mean - np.float32(floor), 0)), weight


def _crests(
    values: np.ndarray[Any, np.dtype[np.float32]], weight: np.ndarray[Any, np.dtype[np.float32]], width: float
) -> tuple[Array, ...]:
    """Return y, x (index), normal y, x and significance of the crests at one width of smoothing."""
    from scipy.ndimage import gaussian_filter

    def smooth(image: np.ndarray[Any, np.dtype[np.float32]], sigma: float) -> Any:
        return gaussian_filter(image, sigma, truncate=3.0)

    known = smooth(weight, width)
    image = smooth(values * weight, width) / np.maximum(known, 1e-3)
    wide = smooth(values * weight, 6 * width) / np.maximum(smooth(weight, 6 * width), 1e-3)
    image -= wide
    gy, gx = np.gradient(image)
    hyy, hyx = np.gradient(gy)
    hxx = np.gradient(gx, axis=1)
    clear = known > 0.98
    # Direction across: the main axis of the structure tensor, taken over a few widths.
    tyy, tyx, txx = (smooth(np.where(clear, a * b, 0), 2 * width) for a, b in ((gy, gy), (gy, gx), (gx, gx)))
    angle = 0.5 * np.arctan2(2 * tyx, txx - tyy)
    nx, ny = np.cos(angle), np.sin(angle)
    coherence = np.hypot(txx - tyy, 2 * tyx) / np.maximum(txx + tyy, 1e-30)
    across = ny * ny * hyy + 2 * ny * nx * hyx + nx * nx * hxx
    offset = -(ny * gy + nx * gx) / np.where(across < 0, across, -np.inf)
    noise = max(_noise(values, weight) * math.sqrt(3 / (16 * math.pi * width**6)), 1e-12)
    found = clear & (across < -NOISE * noise) & (np.abs(offset) < 0.6) & (coherence > 0.6)
    found[:3] = found[-3:] = found[:, :3] = found[:, -3:] = False
    y, x = np.nonzero(found)
    step = offset[y, x]
    ny, nx = ny[y, x], nx[y, x]
    strength = -across[y, x] / noise
    return tuple(np.asarray(a, dtype=float) for a in (y + step * ny, x + step * nx, ny, nx, strength))


def _noise(
    values: np.ndarray[Any, np.dtype[np.float32]], weight: np.ndarray[Any, np.dtype[np.float32]]
) -> float:
    """Return the standard deviation of a pixel, from what no slope explains in blocks of two by two.

    White noise of standard deviation s has second derivatives of s √(3/16π) / σ³ once it is smoothed with σ.
    """
    cross = values[1:, 1:] - values[1:, :-1] - values[:-1, 1:] + values[:-1, :-1]
    known = (
        (weight[1:, 1:] > 0.99)
        & (weight[1:, :-1] > 0.99)
        & (weight[:-1, 1:] > 0.99)
        & (weight[:-1, :-1] > 0.99)
    )
    return 1.4826 * float(np.median(np.abs(cross[known]))) / 2 if known.any() else 0.0
