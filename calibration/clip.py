"""Clip: what setting negative pixels to zero adds to an image, as a model with an uncertainty.

Where a background was subtracted and the rest clipped at zero, a pixel without light has the counts

    n = max(0, round(m + s z)),  z normal,

with m what was left of the pedestal and s the read noise. The histogram of the pixels without photons gives
both (maximum likelihood of the censored distribution). Its mean b, which the clip makes positive, is what an
empty pixel adds to a sum; a pixel that holds a photon is never clipped and adds m; the pixels around a photon
hold a little of its charge and add something between: with the mean footprint of isolated photons, whose
neighbours have the mean counts c(q) at charge q, it is c(q) − q.

The distribution is wider than this model where the pedestal varies over the detector. How far m moves when
other parts of the histogram are fitted is its uncertainty; a model that misses the histogram is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from beamline.errors import CalibrationError
from calibration.gain import PHOTON, Gain, photon_footprints, spread
from calibration.records import Calibration

if TYPE_CHECKING:
    import xarray as xr

Array = np.ndarray[Any, np.dtype[np.float64]]

RANGES = (8, 16)
"""Highest counts of the parts of the histogram that are fitted."""

MISFIT = 0.25
"""Largest part by which the model may miss the mean of the pixels it describes."""

PIXELS = 1 << 21
"""So many pixels, in frames evenly spread over the scan, are looked at."""


@dataclass(frozen=True)
class Clip(Calibration):
    """What clipping at zero adds to a pixel, ADU.

    Attributes
    ----------
    empty
        To a pixel without photons: the mean of such pixels.
    near, near_errors
        To a pixel beside a photon.
    hit, hit_errors
        To a pixel that holds a photon: what was left of the pedestal, negative where too much was subtracted.
    read_noise
        Standard deviation of a pixel before the clip.
    """

    empty: float
    near: float
    near_errors: float
    hit: float
    hit_errors: float
    read_noise: float


def calibrate(images: xr.Dataset, gain: Gain) -> Clip:
    """Model the clip with the pixels of a scan.

    Parameters
    ----------
    images
        Kind ``images``: counts (frame, y, x), clipped at zero.
    gain
        Of the same images.

    Raises
    ------
    CalibrationError
        The pixels without photons are not noise cut at zero.
    """
    from scipy.ndimage import maximum_filter

    counts = images["counts"].variable
    frames = spread(counts.sizes["frame"], max(PIXELS // counts[0].size, 1))
    signal = np.stack([counts[i].values for i in frames])
    gate = gain.offset + PHOTON * gain.gain
    empty = signal[~maximum_filter(signal > gate, (0, 3, 3))]
    histogram = np.bincount(np.maximum(empty, 0).astype(np.int64))[: int(gate) + 1].astype(float)
    fits = [_fit(histogram[: top + 1]) for top in RANGES]
    levels = [level for level, _ in fits]
    level, noise = fits[-1]
    mean = float(histogram @ np.arange(histogram.size) / histogram.sum())
    expected = float(_clipped_mean(np.zeros(1), level, noise)[0])
    # What the model misses of the mean is a tail of partial charges or warm pixels.
    if not abs(expected - mean) < MISFIT * mean:
        raise CalibrationError(
            "clip",
            f"cannot be modelled: pixels without photons have a mean of {mean:.2f} ADU, noise cut at zero "
            f"would have {expected:.2f} ADU",
            "use images that were not clipped",
        )
    events = photon_footprints(signal.astype(np.float32), gate)
    single = np.abs((events.sum(axis=1) - 9 * mean) / gain.gain - 1) < 1 / 3
    around = np.delete(events[single].mean(axis=0), 4)
    charge = np.linspace(0.0, 0.5 * gain.gain, 500)
    shared = np.interp(around, _clipped_mean(charge, level, noise), charge)
    near = float((around - shared).mean())
    # How the charge is shared differs from photon to photon; a third of the way to either end covers it.
    apart = float(np.ptp(levels)) + 0.1 * noise / np.sqrt(len(levels))
    return Clip(mean, near, float(np.hypot((mean - near) / 3, apart)), level, apart, noise)


def _fit(histogram: Array) -> tuple[float, float]:
    """Return level and noise (ADU) of the noise whose clipped counts, up to the end, have this histogram."""
    from scipy.optimize import minimize
    from scipy.special import ndtr

    counts = np.arange(histogram.size)

    def surprise(parameters: Array) -> float:
        level, noise = parameters[0], np.exp(parameters[1])
        upper = ndtr((counts + 0.5 - level) / noise)
        probability = np.diff(upper, prepend=0.0)
        return float(-(histogram * np.log(np.maximum(probability / upper[-1], 1e-300))).sum())

    best = minimize(surprise, [0.0, np.log(4.0)], method="Nelder-Mead", options={"xatol": 1e-4})
    return float(best.x[0]), float(np.exp(best.x[1]))


def _clipped_mean(charge: Array, level: float, noise: float) -> Array:
    """Return the mean of max(0, x) for normal x around `level` + `charge`."""
    from scipy.special import ndtr

    z = (level + charge) / noise
    return np.asarray(noise * (z * ndtr(z) + np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi)))
