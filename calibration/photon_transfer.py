r"""Gain and read noise of an integrating detector from frames of the same light: photon transfer.

Of :math:`S / g` photons in a pixel the signal :math:`S` fluctuates with the variance :math:`g S`. Light that
spreads over neighbours (the scintillator), and charge that is read with the next frame (lag of amorphous
silicon), make the variance of a pixel smaller than that, by a factor of several; a gain from it would be too
small. What they take from the variance they put into the covariance with the neighbours, in the frame and in
the frames beside it: the sum of all is conserved (Y. Shen et al.; A. Boone, Handbook of Medical Imaging 1
(2000), chapter 2: the noise power at zero frequency),

.. math:: V = \sum_{m, \mathbf k} \mathrm{cov}(s_{n, \mathbf i}, s_{n + m, \mathbf i + \mathbf k})
            = g\,(S - \text{offset}) + σ_r^2 .

:math:`V` is taken as the mean of the residual of a pixel times the sum of the residuals around it, in groups
of pixels of equal signal. Frames are scaled to the same total first, so that a beam that drifts is not taken
for noise. With :math:`N` frames and :math:`M` frames of lag on both sides the mean of the frames takes
:math:`(2M+1)/N` of the covariance with it, which is given back.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import xarray as xr

from beamline.errors import CalibrationError
from calibration.gain import Gain

Array = np.ndarray[Any, np.dtype[np.float64]]

REACH = 4
"""Neighbours up to so many pixels away take part in the light of a pixel."""

GROUPS = 24
"""Groups of pixels by signal."""

CLIP = 8.0
"""Residuals beyond so many standard deviations of their group are cosmic rays and dead pixels."""

TILES = 5
"""The image is cut into so many tiles along each axis, whose scatter tells the error."""

PRECISE = 0.2
"""A gain with a larger relative error is none."""


def photon_transfer(
    images: Any, dark: Any = None, mask: Any = None, reach: int = REACH, lag: int = 0
) -> Gain:
    """Measure gain and read noise with frames of the same light.

    Parameters
    ----------
    images
        Dataset of kind ``images``, or an array (frame, y, x), in ADU: two frames or more of one exposure
        time and one sample (a calibrant will do: the more its brightness varies over the image, the better).
    dark
        The same without light, two frames or more: they give offset and read noise. Without them, both come
        from `images`: the offset is taken as 0 (dark subtracted), the read noise as what remains at no
        signal.
    mask
        Array (y, x), nonzero = masked.
    reach
        How many pixels away light spreads.
    lag
        How many frames later charge is read; needs 2 (2 lag + 1) frames or more.

    Returns
    -------
    Gain
        ``events`` is 0: no photon was seen alone. ``gain_errors`` is the counting error.

    Raises
    ------
    CalibrationError
        There are too few frames or pixels, frames are not alike, or nothing fluctuates with the signal; reach
        or lag is below 0.
    """
    for name, value in (("reach", reach), ("lag", lag)):
        if value < 0:
            raise CalibrationError(name, f"is {value}", "it counts pixels or frames, from 0")
    frames = _frames(images, "images", 2 * (2 * lag + 1) if lag else 2)
    live: np.ndarray[Any, np.dtype[np.bool_]] = np.asarray(np.isfinite(frames).all(axis=0))
    if mask is not None:
        masked = np.squeeze(np.asarray(mask)) != 0
        if masked.shape != live.shape:
            raise CalibrationError("mask", f"has shape {masked.shape}, the frames {live.shape}")
        live &= ~masked
    offset: Array | float = 0.0
    read = None
    if dark is not None:
        darks = _frames(dark, "dark frames", 2)
        if darks.shape[1:] != frames.shape[1:]:
            raise CalibrationError(
                "dark frames", f"have {darks.shape[1:]} pixels, the frames {frames.shape[1:]}"
            )
        live &= np.isfinite(darks).all(axis=0)
        offset = darks.mean(axis=0)
        read = _groups(darks - offset, np.zeros_like(live, dtype=float), live, reach, 0, 1)
    signal = frames - offset
    level = (
        np.array([float(np.mean(frame[live])) for frame in signal]) if live.any() else np.zeros(len(signal))
    )
    if not live.any() or not level.mean() > 0:
        raise CalibrationError("images", "have no light", "subtract the dark current, or give dark=")
    scale = level / level.mean()
    if np.abs(scale - 1).max() > 0.3:
        raise CalibrationError(
            "images",
            f"differ in brightness by {np.ptp(scale):.0%}",
            "take frames of one exposure time and sample",
        )
    mean = np.tensordot(scale, signal, axes=(0, 0)) / (scale @ scale)
    residual = signal - scale[:, None, None] * mean
    groups = _groups(residual, mean, live, reach, lag, GROUPS)
    return _line(groups, read, float(np.mean(offset[live]) if isinstance(offset, np.ndarray) else 0.0))


def _frames(images: Any, what: str, fewest: int) -> Array:
    if isinstance(images, xr.Dataset):
        images = images["counts"].values
    frames = np.asarray(images)
    if frames.ndim != 3 or len(frames) < fewest or frames.dtype.kind not in "iuf":
        raise CalibrationError(
            what,
            f"are {frames.shape}, {fewest} or more of (y, x) are needed",
            "take more frames of the same light",
        )
    saturated = frames == np.iinfo(frames.dtype).max if frames.dtype.kind in "iu" else np.zeros(1, dtype=bool)
    return np.where(saturated, np.nan, frames.astype(float))


def _groups(
    residual: Array, mean: Array, live: np.ndarray[Any, np.dtype[np.bool_]], reach: int, lag: int, number: int
) -> Array:
    """Return count and sums of signal, V and V² (group, tile, 4) of groups of pixels of equal signal."""
    from scipy.ndimage import minimum_filter, uniform_filter

    width = 2 * reach + 1
    # A cosmic ray of one frame counts neither there nor as a neighbour.
    spread = 1.4826 * np.median(np.abs(residual[:, live]), axis=1)
    local = np.sqrt(
        np.maximum(uniform_filter(np.mean(np.where(live, residual, 0) ** 2, axis=0), 4 * width), 1e-30)
    )
    quiet = live & (np.abs(residual) < CLIP * np.maximum(local, spread.mean())).all(axis=0)
    clear = minimum_filter(quiet, width, mode="constant", cval=0)
    if clear.sum() < 1000:
        raise CalibrationError("images", f"have {clear.sum()} pixels with live neighbours", "check the mask")
    residual = np.where(quiet, residual, 0.0)
    around = np.stack([uniform_filter(frame, width) * width**2 for frame in residual])
    count = len(residual)
    product = np.zeros_like(mean)
    for later in range(-lag, lag + 1):
        n = np.arange(max(0, -later), count - max(0, later))
        product += np.einsum("nyx,nyx->yx", residual[n], around[n + later]) / n.size
    product /= 1 - (2 * lag + 1) / count
    rank = np.argsort(np.argsort(mean[clear], kind="stable"), kind="stable")
    y, x = np.nonzero(clear)
    tile = (y * TILES // mean.shape[0]) * TILES + x * TILES // mean.shape[1]
    index = (rank * number // rank.size) * TILES**2 + tile
    shape = (number, TILES**2)
    sums = [
        np.bincount(index, weights=values, minlength=number * TILES**2).reshape(shape)
        for values in (np.ones(rank.size), mean[clear], product[clear], product[clear] ** 2)
    ]
    return np.stack(sums, axis=-1)


def _line(groups: Array, read: Array | None, offset: float) -> Gain:
    """Fit V = g S + σ_r² to sums of groups (group, tile, sum); `read` is the group of the dark frames.

    The error is that of a jackknife over the tiles of the image, which knows how neighbours go together.
    """
    parts = groups if read is None else np.concatenate([groups, read])
    gain, variance = _slope(parts)
    left = np.array([_slope(np.delete(parts, i, axis=1))[0] for i in range(parts.shape[1])])
    error = math.sqrt(float((left.size - 1) / left.size * ((left - left.mean()) ** 2).sum()))
    if not gain > 0 or error > PRECISE * gain:
        raise CalibrationError(
            "images",
            f"do not fluctuate with their signal (gain {gain:.3g} ± {error:.2g} ADU per photon)",
            "take more frames, or frames that are not averaged or compressed",
        )
    return Gain(gain, math.sqrt(max(variance, 0.0)), offset, error, 0)


def _slope(parts: Array) -> tuple[float, float]:
    """Return gain and read variance."""
    count, level, product, squares = parts.sum(axis=1).T
    used = count > 10
    count, level, product, squares = count[used], level[used] / count[used], product[used], squares[used]
    product = product / count
    sigma = np.sqrt(np.maximum(squares / count - product**2, 1e-30) / count)
    design = np.stack([level, np.ones_like(level)], axis=1) / sigma[:, None]
    if np.linalg.cond(design.T @ design) > 1e16 or level.size < 2:
        raise CalibrationError("images", "are evenly lit", "give dark frames too")
    slope, constant = np.linalg.lstsq(design, product / sigma, rcond=None)[0]
    return float(slope), float(constant)
