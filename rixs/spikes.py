"""Cosmic rays: masked where a pixel holds more photons than its column allows, never replaced.

Single photons are themselves sharp and sparse, so filters that compare a pixel with its neighbours (median,
MAD, LACosmic) delete the signal. What tells a cosmic ray is charge: a pixel cannot hold many photons where
its column holds few. With the rate λ of the column (photons per pixel, in this frame, bounded from above by
its counting error) a pixel is a spike above n + 1/2 photons, where a Poisson variable exceeds n with
probability 1e-6 or less; its 8 neighbours are masked with it, for the charge that leaked.

Spikes below the limit stay: at low rates those of less than some 2.5 photons, about 4 % of the charge of
a plausible cosmic spectrum. A track along one column raises that column's own rate and may stay too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from beamline import provenance

if TYPE_CHECKING:
    import xarray as xr

    from calibration.gain import Gain

Array = np.ndarray[Any, np.dtype[np.float64]]

SPIKE, SATURATED = 1, 2

WINDOW = 5
"""Columns over which the rate of photons is taken to be smooth, within its error."""


@provenance.step("rixs.mask_spikes", returns="images")
def mask_spikes(images: xr.Dataset, gain: Gain, probability: float = 1e-6) -> xr.Dataset:
    """Flag pixels hit by cosmic rays, and saturated ones.

    Parameters
    ----------
    images
        Kind ``images``: counts (frame, y, x) in ADU, background subtracted; pixels that reach the coordinate
        ``saturation_level`` (frame), if there is one, are saturated.
    gain
        Gain, read noise and offset of the detector (`calibration.gain`).
    probability
        Chance that a pixel without a cosmic ray is flagged.

    Returns
    -------
    Dataset
        `images` with ``counts_mask`` (flags spike and saturated) and, per frame, ``spike_pixels`` (pixels
        above the limit), ``spike_charge`` (their charge above the column's, ADU) and ``saturated_pixels``.
    """
    from scipy.ndimage import maximum_filter
    from scipy.stats import poisson

    counts = images["counts"].values
    signal = counts.astype(np.float32) - np.float32(gain.offset)
    spikes = np.zeros(signal.shape, bool)
    # Every round a lower rate flags smaller spikes; rates only fall, so this ends.
    for _ in range(6):
        live = np.maximum((~spikes).sum(axis=1), 1)
        charge = np.where(spikes, 0, signal).sum(axis=1, dtype=float)
        rate = _rate_limit(charge / gain.gain, live)
        photons = poisson.isf(probability, rate) + 0.5
        limit = photons * gain.gain + 5 * gain.read_noise
        found = signal > limit[:, None, :]
        if np.array_equal(found, spikes):
            break
        spikes = found
    mask = maximum_filter(spikes, (0, 3, 3)).astype(np.uint8) * np.uint8(SPIKE)
    saturated = np.zeros(counts.shape, bool)
    if "saturation_level" in images.coords:
        saturated = counts >= images["saturation_level"].values[:, None, None]
    mask |= saturated.astype(np.uint8) * np.uint8(SATURATED)
    excess = np.where(spikes, signal - (charge / live)[:, None, :], 0).sum(axis=(1, 2), dtype=float)
    flags = {"flag_masks": [SPIKE, SATURATED], "flag_meanings": "spike saturated"}
    return images.assign(counts_mask=(("frame", "y", "x"), mask, flags)).assign_coords(
        spike_pixels=("frame", spikes.sum(axis=(1, 2)), _label("pixels above the limit of a spike", "")),
        spike_charge=("frame", excess, _label("charge of spikes removed", "ADU")),
        saturated_pixels=("frame", saturated.sum(axis=(1, 2)), _label("saturated pixels", "")),
    )


def _rate_limit(photons: Array, live: Array) -> Array:
    """Return an upper bound of the photons per pixel in each column.

    The column's own rate, or, where that is higher, the bound of the rate of `WINDOW` columns at two
    standard deviations (N + 1 + 2 √(N + 3/4); N. Gehrels, ApJ 303 (1986) 336, eq. 9).
    """
    from scipy.ndimage import uniform_filter1d

    photons = np.maximum(photons, 0)
    n = WINDOW * uniform_filter1d(photons, WINDOW, axis=1)
    pixels = WINDOW * uniform_filter1d(live.astype(float), WINDOW, axis=1)
    return np.asarray(np.maximum(photons / live, (n + 1 + 2 * np.sqrt(n + 0.75)) / pixels))


def _label(long_name: str, units: str) -> dict[str, str]:
    return {"units": units, "long_name": long_name}
