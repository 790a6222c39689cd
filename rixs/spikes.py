"""Cosmic rays: masked where pixels hold more photons than their column allows, never replaced.

Single photons are themselves sharp and sparse, so filters that compare a pixel with its neighbours (median,
MAD, LACosmic) delete the signal. What tells a cosmic ray is charge: a pixel cannot hold many photons where
its column holds few. With the rate λ of the column (photons per pixel in this frame, bounded from above
where few were counted) a limit of n photons costs the part of its light that is in pixels with more than n,

    Σ_{k>n} k P(k) / λ = P(k ≥ n)        (Poisson),

and the limit is the lowest n that costs no more than `loss`. Two neighbours that are both high are rarer than
one, so a lower limit holds for pairs, 8 P(k > n) P(k ≥ n) ≤ loss; and next to a hit pixel one is taken for
part of the track above the limit that one pixel in a hundred exceeds. Around hit pixels their 8 neighbours
are masked, for the charge that leaked.

Spikes below these limits stay: they hold no more than what photons hold there.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from beamline import provenance
from calibration.gain import PHOTON

if TYPE_CHECKING:
    import xarray as xr

    from calibration.gain import Gain

Array = np.ndarray[Any, np.dtype[np.float64]]

SPIKE, SATURATED, OUTLIER = 1, 2, 4
FLAGS = {"flag_masks": [SPIKE, SATURATED, OUTLIER], "flag_meanings": "spike saturated outlier"}

LOSS = 2e-4
"""Part of the light of a column that may be taken for spikes, for single pixels and for pairs."""

TRACK = 0.01
"""Part of the pixels without a spike that exceed the limit beside one."""

WINDOWS = (5, 17)
"""Columns over which the rate of photons is bounded."""

LABELS = {
    "spike_pixels": ("pixels above the limit of a spike", ""),
    "spike_charge": ("charge of spikes removed, above that of their columns", "ADU"),
    "photon_loss": ("expected part of the photons' charge that was taken for spikes", ""),
    "saturated_pixels": ("saturated pixels", ""),
    "outlier_pixels": ("pixels above what the other exposures of the point allow", ""),
}
"""What is known of every frame: long name and units."""


@dataclass(frozen=True)
class Spikes:
    """Spikes of one frame: the flagged pixels (y, x) with their flags, and the numbers of `LABELS`."""

    y: np.ndarray[Any, np.dtype[np.intp]]
    x: np.ndarray[Any, np.dtype[np.intp]]
    flags: np.ndarray[Any, np.dtype[np.uint8]]
    spike_pixels: int
    spike_charge: float
    photon_loss: float
    saturated_pixels: int
    outlier_pixels: int = 0

    def mask(self, shape: tuple[int, ...]) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """Return the mask (y, x): `SPIKE`, `SATURATED`, `OUTLIER`."""
        mask = np.zeros(shape, np.uint8)
        mask[self.y, self.x] = self.flags
        return mask


@provenance.step("rixs.mask_spikes", returns="images", framewise=True)
def mask_spikes(images: xr.Dataset, gain: Gain, loss: float = LOSS) -> xr.Dataset:
    """Flag pixels hit by cosmic rays, and saturated ones.

    Parameters
    ----------
    images
        Kind ``images``: counts (frame, y, x) in ADU, background subtracted; pixels that reach the coordinate
        ``saturation_level`` (frame), if there is one, are saturated.
    gain
        Gain, read noise and offset of the detector (`calibration.gain`).
    loss
        Part of the light of a column that may be taken for spikes.

    Returns
    -------
    Dataset
        `images` with ``counts_mask`` (flags spike and saturated) and, per frame, ``spike_pixels`` (pixels
        above the limit), ``spike_charge`` (their charge above the column's, ADU), ``photon_loss`` (expected
        part of the photons' charge that was taken for spikes; what is masked beside spikes is not in it, live
        rows make up for that) and ``saturated_pixels``.
    """
    from rixs.frames import signals

    levels = saturation_levels(images)
    found = [
        find_spikes(signal, gain, level, loss) for signal, level in zip(signals(images), levels, strict=True)
    ]
    mask = np.array([each.mask(images["counts"].shape[1:]) for each in found])
    flagged = images.assign(counts_mask=(("frame", "y", "x"), mask, FLAGS))
    return flagged.assign_coords(frame_coords(found))


def frame_coords(found: list[Spikes]) -> dict[str, Any]:
    """Return the numbers of `LABELS` as coordinates along the frames."""
    return {
        name: ("frame", np.array([getattr(each, name) for each in found]), _label(*label))
        for name, label in LABELS.items()
    }


def saturation_levels(images: xr.Dataset) -> Array:
    """Return the counts at which pixels of each frame are saturated; infinite where not known."""
    if "saturation_level" in images.coords:
        return np.asarray(images["saturation_level"].values, float)
    return np.full(images.sizes["frame"], np.inf)


def find_spikes(
    signal: np.ndarray[Any, Any], gain: Gain, saturated_at: float = np.inf, loss: float = LOSS
) -> Spikes:
    """Find the spikes of one frame.

    Parameters
    ----------
    signal
        Shape (y, x), ADU.
    gain
        Of the detector.
    saturated_at
        Signal of a saturated pixel.
    loss
        As in `mask_spikes`.
    """
    from rixs import frame_kernels

    rows, columns = signal.shape
    mask = np.zeros(signal.shape, np.uint8)
    profile = np.zeros((1, columns))
    gate = gain.offset + PHOTON * gain.gain
    frame_kernels.photon_profiles(signal, mask, gate, np.zeros(rows, np.int64), profile)
    gated = profile[0]
    # Below 1.5 photons nothing is ever a spike.
    y, x = _brighter(signal, gain.offset + 1.5 * gain.gain)
    hits = np.empty((2, min(signal.size, 9 * y.size + 9)), np.int64)
    live: Array = np.full(columns, float(rows))
    charge, count = gated, 0
    # Every round a lower rate flags smaller spikes; rates only fall, so this ends.
    for _ in range(6):
        rate = _rate_limit(charge / gain.gain, live)
        single, pair, track = (
            gain.offset + (n + 0.5) * gain.gain + 5 * gain.read_noise for n in limits(rate[None], loss)
        )
        now = frame_kernels.mark_hits(signal, y, x, single, pair, track, mask, hits, count)
        if now == count:
            break
        count = now
        b, a = hits[:, :count]
        taken = np.bincount(a, weights=signal[b, a], minlength=columns)
        live = np.maximum(rows - np.bincount(a, minlength=columns), 1.0)
        charge = np.maximum(gated - taken, 0)
    excess = 0.0
    if count:
        excess = float((signal[b, a] - gain.offset - (charge / live)[a]).sum(dtype=float))
        frame_kernels.mark_neighbours(b, a, mask)
        mask = np.minimum(mask, SPIKE, out=mask)
    saturated = 0
    if np.isfinite(saturated_at):
        full = _brighter(signal, np.nextafter(saturated_at, 0))
        saturated = full[0].size
        mask[full] |= SATURATED
    expected = float((charge * expected_loss(rate, loss)).sum() / max(charge.sum(), gain.gain))
    flagged = _brighter(mask, 0.5)
    return Spikes(*flagged, mask[flagged], count, excess, expected, saturated)


def _brighter(signal: np.ndarray[Any, Any], limit: float) -> tuple[Any, Any]:
    """Return the pixels (y, x) above `limit`."""
    from rixs.frame_kernels import brighter_pixels

    y, x = np.empty((2, max(signal.size // 16, 1024)), np.int64)
    count = brighter_pixels(signal, limit, y, x)
    if count > y.size:
        y, x = np.empty((2, count), np.int64)
        brighter_pixels(signal, limit, y, x)
    return y[:count], x[:count]


def _rate_limit(photons: Array, live: Array) -> Array:
    """Return an upper bound of the photons per pixel in each column.

    The column's own rate, or, where that is higher, the lowest bound of the rate of `WINDOWS` columns around
    at two standard deviations (N + 1 + 2 √(N + 3/4); N. Gehrels, ApJ 303 (1986) 336, eq. 9).
    """
    from scipy.ndimage import uniform_filter1d

    bounds = []
    for width in WINDOWS:
        n = np.maximum(width * uniform_filter1d(photons, width), 0)
        pixels = width * uniform_filter1d(live, width)
        bounds.append((n + 1 + 2 * np.sqrt(n + 0.75)) / pixels)
    return np.asarray(np.maximum(photons / live, np.min(bounds, axis=0)))


_RATES = np.geomspace(1e-6, 1e4, 2001)


@functools.cache
def _table(loss: float) -> tuple[Array, Array, Array, Array]:
    """Return the limits (photons) of single pixels, pairs and tracks at `_RATES`, and what they cost."""
    from scipy.stats import poisson

    single = np.maximum(poisson.isf(loss, _RATES) + 1, 1.0)  # P(k ≥ n) = P(k > n − 1) ≤ loss
    pair = np.maximum(poisson.isf(np.sqrt(loss / 8), _RATES), 1.0)
    while True:
        cost = 8 * poisson.sf(pair, _RATES) * poisson.sf(pair - 1, _RATES)
        if not (cost > loss).any():
            break
        pair = pair + (cost > loss)
    track = np.maximum(poisson.isf(TRACK, _RATES), 0.0)
    cost = poisson.sf(single - 1, _RATES) + 8 * poisson.sf(pair, _RATES) * poisson.sf(pair - 1, _RATES)
    return single, pair, track, cost


def limits(rate: Array, loss: float) -> tuple[Array, Array, Array]:
    """Return the limits of single pixels, pairs and tracks in photons, at rates rounded up."""
    at = np.minimum(np.searchsorted(_RATES, rate), _RATES.size - 1)
    single, pair, track, _ = _table(loss)
    return single[at], pair[at], track[at]


def expected_loss(rate: Array, loss: float) -> Array:
    """Return the part of the light that the limits at these rates cost."""
    at = np.minimum(np.searchsorted(_RATES, rate), _RATES.size - 1)
    return _table(loss)[3][at]


def _label(long_name: str, units: str) -> dict[str, str]:
    return {"units": units, "long_name": long_name}
