"""What a photon and what nothing look like on the detector: gain, read noise and offset from the images.

A soft X-ray photon is an event of a few pixels. Where photons are sparse, the charge of isolated events,
summed over 3 × 3 pixels, has a peak at one photon: its position is the gain. Pixels between the events have
the read noise; their mean is the offset left by the subtraction of the background, which is positive where
the files were clipped at zero.

The gain holds for the energy of the photons it was measured with (it is proportional to it). It is needed for
variances, where an error of a tenth is one of a twentieth in the error bar.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from beamline.errors import CalibrationError
from calibration.records import Calibration

if TYPE_CHECKING:
    import xarray as xr

Array = np.ndarray[Any, np.dtype[np.float64]]

ENOUGH_EVENTS = 200


@dataclass(frozen=True)
class Gain(Calibration):
    """Answer of a detector to photons of one energy.

    Attributes
    ----------
    gain, gain_errors
        ADU per photon, with its standard deviation.
    read_noise
        Standard deviation of a pixel without photons, ADU.
    offset
        Mean of a pixel without photons, ADU.
    events
        Number of isolated photons it was measured with; 0 where it was stated by hand.
    """

    gain: float
    read_noise: float
    offset: float = 0.0
    gain_errors: float = 0.0
    events: int = 0

    def __post_init__(self) -> None:
        if not (self.gain > 0 and self.read_noise >= 0):
            raise CalibrationError("gain", f"of {self.gain} ADU and read noise of {self.read_noise} ADU make no sense")


def calibrate(images: xr.Dataset) -> Gain:
    """Measure the gain, the read noise and the offset.

    Parameters
    ----------
    images
        Kind ``images``: counts in ADU, background subtracted.

    Raises
    ------
    CalibrationError
        There are too few isolated photons.
    """
    from scipy.ndimage import maximum_filter, uniform_filter

    counts = images["counts"].values.astype(np.float32)
    counts = counts.reshape(-1, *counts.shape[-2:])
    offset, read_noise = _dark(counts)
    signal = counts - np.float32(offset)
    hit = signal > max(5 * read_noise, 1.0)
    if not hit.any():
        raise CalibrationError("images", "hold no photons", "was the shutter open?")
    charge = 9 * uniform_filter(signal, (0, 3, 3))
    around = 25 * uniform_filter(hit.astype(np.float32), (0, 5, 5)) - 9 * uniform_filter(
        hit.astype(np.float32), (0, 3, 3)
    )
    isolated = hit & (signal == maximum_filter(signal, (0, 3, 3))) & (around < 0.5)
    isolated[:, :2] = isolated[:, -2:] = isolated[:, :, :2] = isolated[:, :, -2:] = False
    events = charge[isolated].astype(float)
    if events.size < ENOUGH_EVENTS:
        raise CalibrationError(
            "images",
            f"have {events.size} isolated photons, {ENOUGH_EVENTS} are needed to measure the gain",
            "state it: calibration.gain.Gain(gain=..., read_noise=...)",
        )
    gain, error = _one_photon(events, read_noise)
    return Gain(gain, read_noise, offset, error, int(events.size))


def _dark(counts: np.ndarray[Any, np.dtype[np.float32]]) -> tuple[float, float]:
    """Return mean and standard deviation of the pixels without photons, from the quietest columns."""
    columns = counts.mean(axis=(0, 1))
    quiet = counts[..., columns <= np.quantile(columns, 0.25)].ravel().astype(float)
    pixels = quiet[quiet <= np.quantile(quiet, 0.99)]
    for _ in range(20):
        limit = pixels.mean() + 4 * pixels.std()
        kept = quiet[quiet <= limit]
        if kept.size == pixels.size:
            break
        pixels = kept
    return float(pixels.mean()), float(pixels.std())


def _one_photon(events: Array, read_noise: float) -> tuple[float, float]:
    """Return the position of the highest peak in the charges of events, and its error."""
    from scipy.ndimage import gaussian_filter1d

    # The 3 × 3 sum has three times the read noise of a pixel: nothing finer can be resolved.
    width = max(2 * read_noise, float(np.median(events)) / 50)
    bins = np.arange(0.0, float(np.quantile(events, 0.95)) + 4 * width, width)
    histogram, _ = np.histogram(events, bins)
    mode = bins[int(np.argmax(gaussian_filter1d(histogram.astype(float), 1.5)))] + width / 2
    center = mode
    for _ in range(30):
        peak = events[np.abs(events - center) < 0.25 * center]
        if abs(peak.mean() - center) < 1e-4 * center:
            break
        center = float(peak.mean())
    # The peak is skewed by charge that was lost and by double hits: mode and mean differ by that much.
    return center, float(np.hypot(peak.std() / np.sqrt(peak.size), center - mode))
