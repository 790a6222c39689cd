"""Cosmic rays in repeats: what a pixel holds in one exposure against what all the others hold around it.

Three or more exposures of the same point tell the rate of photons of a pixel without the exposure that is
tested. A spike has no part in the rate it is judged by, the rate follows bent lines, and it is known with the
light of all the other exposures. So the limits of `rixs.spikes` (P(k ≥ n) ≤ `loss` for one pixel, and its
likes for pairs and tracks) hold pixel by pixel, and are lower than those of a column of one exposure, whose
rate has to be bounded from its own few photons.

The rate of a pixel in exposure k is

    λ_k = max( Σ_W N / Σ_W e, min_V (N_V + 1 + 2 √(N_V + ¾)) / e_V ),   e = Σ_{j≠k} L_j / L_k

with N the photons of the others, L the light of an exposure as it is measured, W `LINE` rows of one column
and V the windows `AROUND` (rows, columns); the bound is that of N. Gehrels, ApJ 303 (1986) 336, eq. 9.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from beamline import provenance
from beamline.errors import SchemaError
from calibration.gain import PHOTON
from rixs.frames import signals
from rixs.repeats import same_points
from rixs.spikes import (
    FLAGS,
    LOSS,
    OUTLIER,
    Spikes,
    expected_loss,
    find_spikes,
    frame_coords,
    limits,
    saturation_levels,
)

if TYPE_CHECKING:
    import xarray as xr

    from calibration.dark import Dark
    from calibration.gain import Gain

Array = np.ndarray[Any, np.dtype[np.float64]]
Indices = np.ndarray[Any, np.dtype[np.intp]]

FEWEST = 3
"""Repeats that are tested against each other: of two that differ, nothing tells which is wrong."""

LINE = 33
"""Rows of a column over which a bent line stays in its pixel."""

AROUND = ((129, 5), (33, 17))
"""Rows and columns over which the rate is bounded."""

ROUNDS = 2
"""What is found in one exposure is left out of the rates of the others."""


@provenance.step("rixs.mask_outliers", returns="images")
def mask_outliers(images: xr.Dataset, gain: Gain, loss: float = LOSS) -> xr.Dataset:
    """Flag spikes, and in repeats also the pixels that hold more than the other exposures allow.

    Parameters
    ----------
    images
        Kind ``images``, as `rixs.mask_spikes` takes them, with the coordinate ``excitation_energy``, and
        ``spot`` where there were several. Repeats are exposures of the same energy and spot; where there are
        less than `FEWEST`, only the test of the column is made.
    gain
        Gain, read noise and offset of the detector.
    loss
        Part of the light that may be taken for spikes.

    Returns
    -------
    Dataset
        As `rixs.mask_spikes`; what only the repeats tell has the flag ``outlier``, and ``outlier_pixels``
        (frame) counts the pixels above the limit.

    Raises
    ------
    SchemaError
        The images have no excitation energies.
    """
    levels = saturation_levels(images)
    found = [
        find_spikes(signal, gain, level, loss) for signal, level in zip(signals(images), levels, strict=True)
    ]
    found = outliers_of(images, gain, None, found, loss)
    mask = np.array([each.mask(images["counts"].shape[1:]) for each in found])
    flagged = images.assign(counts_mask=(("frame", "y", "x"), mask, FLAGS))
    return flagged.assign_coords(frame_coords(found))


def outliers_of(
    images: xr.Dataset, gain: Gain, dark: Dark | None, known: list[Spikes], loss: float = LOSS
) -> list[Spikes]:
    """Return the spikes of all frames: those `known` of the columns, and those the repeats tell besides.

    The repeats of one point are in memory together.

    Raises
    ------
    SchemaError
        The images have no excitation energies.
    """
    found = list(known)
    for group in _repeats(images):
        part = images.isel(frame=group)
        stack = np.array([signal.copy() for signal in signals(part, dark)])
        for i, spikes in zip(group, find_outliers(stack, [known[i] for i in group], gain, loss), strict=True):
            found[int(i)] = spikes
    return found


def has_repeats(images: xr.Dataset) -> bool:
    """Tell whether a point of a scan has enough exposures to test them against each other."""
    return bool(_repeats(images))


def find_outliers(
    stack: np.ndarray[Any, Any], known: list[Spikes], gain: Gain, loss: float = LOSS
) -> list[Spikes]:
    """Find the spikes of exposures of the same light.

    Parameters
    ----------
    stack
        Signal (exposure, y, x), ADU.
    known
        Spikes found before in each, which are not looked at again.
    gain
        Of the detector.
    loss
        As in `mask_outliers`.
    """
    from rixs import frame_kernels

    masks = np.array([each.mask(stack.shape[1:]) != 0 for each in known]).astype(np.uint8)
    candidates = [np.nonzero(signal > gain.offset + 1.5 * gain.gain) for signal in stack]
    hits = [np.empty((2, 9 * y.size + 9), np.int64) for y, _ in candidates]
    counts = np.zeros(len(stack), np.int64)
    costs = np.zeros(len(stack))
    excess = np.zeros(len(stack))
    for _ in range(ROUNDS):
        live = masks == 0
        photons = np.where(live & (stack > gain.offset + PHOTON * gain.gain), stack - gain.offset, 0)
        photons = photons / gain.gain
        light = np.maximum(photons.sum(axis=(1, 2)), 1.0)
        before = masks.copy()
        for k, (y, x) in enumerate(candidates):
            others = np.arange(len(stack)) != k
            exposed = np.tensordot(light[others] / light[k], live[others].astype(float), 1)
            rate = _rate(photons[others].sum(axis=0), exposed)
            single, pair, track = (
                gain.offset + (n + 0.5) * gain.gain + 5 * gain.read_noise for n in limits(rate, loss)
            )
            now = frame_kernels.mark_hits(
                stack[k], y, x, single, pair, track, masks[k], hits[k], int(counts[k])
            )
            b, a = hits[k][:, counts[k] : now]
            excess[k] += float((stack[k][b, a] - gain.offset - rate[b, a] * gain.gain).sum())
            counts[k] = now
            costs[k] = float((rate * expected_loss(rate, loss)).sum() / rate.sum())
        if (masks == before).all():
            break
    result = []
    for k, spikes in enumerate(known):
        if counts[k]:
            b, a = hits[k][:, : counts[k]]
            frame_kernels.mark_neighbours(b, a, masks[k])
        flags = spikes.mask(stack.shape[1:])
        flags[(masks[k] != 0) & (flags == 0)] = OUTLIER
        where = np.nonzero(flags)
        result.append(
            dataclasses.replace(
                spikes,
                y=where[0],
                x=where[1],
                flags=flags[where],
                outlier_pixels=int(counts[k]),
                spike_charge=spikes.spike_charge + float(excess[k]),
                photon_loss=max(spikes.photon_loss, float(costs[k])),
            )
        )
    return result


def _rate(photons: Array, exposed: Array) -> Array:
    """Return an upper bound of the photons per pixel from `photons` (y, x) of `exposed` pixels."""
    from scipy.ndimage import uniform_filter

    def summed(values: Array, rows: int, columns: int) -> Array:
        size = min(rows, values.shape[0]), min(columns, values.shape[1])
        # A mean over what there is: rows beyond the end repeat those there are.
        return np.asarray(np.maximum(uniform_filter(values, size, mode="nearest") * size[0] * size[1], 0))

    line = summed(photons, LINE, 1) / np.maximum(summed(exposed, LINE, 1), 1e-9)
    bounds = []
    for window in AROUND:
        n, pixels = summed(photons, *window), np.maximum(summed(exposed, *window), 1e-9)
        bounds.append((n + 1 + 2 * np.sqrt(n + 0.75)) / pixels)
    return np.asarray(np.maximum(line, np.min(bounds, axis=0)))


def _repeats(images: xr.Dataset) -> list[Indices]:
    """Return the frames of every point and spot that has at least `FEWEST` of them."""
    if "excitation_energy" not in images.coords:
        raise SchemaError("excitation_energy", "is missing", "repeats are exposures of the same energy")
    energy = images["excitation_energy"].values.astype(float)
    spots = images["spot"].values if "spot" in images.coords else np.zeros(energy.size, int)
    groups = [group for spot in np.unique(spots) for group in same_points(energy, spots == spot)]
    return [np.sort(group) for group in groups if group.size >= FEWEST]
