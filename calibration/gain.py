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

from beamline._lazy import attach
from beamline.errors import CalibrationError
from calibration.records import Calibration

if TYPE_CHECKING:
    import xarray as xr

    from calibration.dark import Dark
    from calibration.photon_transfer import photon_transfer as photon_transfer

Array = np.ndarray[Any, np.dtype[np.float64]]

ENOUGH_EVENTS = 50

PIXELS = 1 << 23
"""So many pixels of a scan, in frames evenly spread over it, are looked at; a quarter for the noise."""

PHOTON = 0.35
"""A pixel with more than this part of a photon's charge was hit by one."""

CLEAR, UNSURE = 5.0, 0.25
"""The gate of a photon is so many standard deviations above noise; largest relative error of a gain."""

NOISE_LIMIT = 8.0
"""A pixel is hit above so many standard deviations: clipped noise has a longer tail than a Gaussian."""


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
            raise CalibrationError(
                "gain", f"of {self.gain} ADU and read noise of {self.read_noise} ADU make no sense"
            )


def calibrate(images: xr.Dataset, dark: Dark | None = None) -> Gain:
    """Measure the gain, the read noise and the offset.

    Parameters
    ----------
    images
        Kind ``images``: counts in ADU, background subtracted, or with
    dark
        what is subtracted from them.

    Raises
    ------
    CalibrationError
        There are too few isolated photons, or they have no clear charge.
    """
    counts: Any = images["counts"]
    if counts.ndim == 2:
        counts = counts.expand_dims("frame")
    counts = counts.variable
    size = counts[0].size
    frames = spread(counts.sizes["frame"], max(PIXELS // size, 1))
    signal = np.stack([counts[i].values.astype(np.float32) for i in frames])
    if dark is not None:
        signal -= np.array(dark.columns, np.float32)
    offset, read_noise = _dark(signal[spread(len(frames), max(PIXELS // 4 // size, 1))])
    signal -= np.float32(offset)
    gate = NOISE_LIMIT * read_noise
    # The first time, warm pixels may outnumber photons, and the square of the charge tells them apart. The
    # second time they are below the gate, and double hits are what must not be taken for one photon.
    for power in (2, 1):
        events = photon_footprints(signal, max(gate, 1.0)).sum(axis=1)
        if events.size < ENOUGH_EVENTS:
            raise CalibrationError(
                "images",
                f"have {events.size} isolated photons, {ENOUGH_EVENTS} are needed to measure the gain",
                "state it: calibration.gain.Gain(gain=..., read_noise=...)",
            )
        gain, error = _one_photon(events, read_noise, power)
        gate = max(gate, PHOTON * gain)
    # A gain that is wrong makes spikes of photons; better none than that.
    if PHOTON * gain < CLEAR * read_noise or error > UNSURE * gain:
        raise CalibrationError(
            "images",
            f"show no clear charge of a photon ({gain:.0f} ± {error:.0f} ADU, noise {read_noise:.1f} ADU)",
            "state it, or measure it with a longer scan: calibration.gain.Gain(gain=..., read_noise=...)",
        )
    return Gain(gain, read_noise, offset, error, int(events.size))


def spread(frames: int, most: int) -> list[int]:
    """Return at most so many indices of frames, evenly spread."""
    return sorted({int(i) for i in np.linspace(0, frames - 1, min(frames, most)).round()})


def photon_footprints(signal: np.ndarray[Any, np.dtype[np.float32]], gate: float) -> Array:
    """Return the 3 × 3 pixels (event, 9) of events with no other pixel above `gate` in the 5 × 5 around them.

    `signal` is (frame, y, x).
    """
    from calibration.event_kernels import isolated_events

    events = []
    for frame in signal:
        y, x = np.nonzero(frame > gate)
        events.append(isolated_events(frame, y, x, gate))
    return np.asarray(np.concatenate(events))


def _dark(counts: np.ndarray[Any, np.dtype[np.float32]]) -> tuple[float, float]:
    """Return mean and standard deviation of the pixels without photons, from the quieter columns."""
    columns = counts.mean(axis=(0, 1))
    quiet = counts[..., columns <= np.median(columns)].ravel().astype(float)
    pixels = quiet[quiet <= np.quantile(quiet, 0.99)]
    for _ in range(20):
        # Counts are whole numbers: where nearly all were clipped to zero, the others still are noise.
        limit = pixels.mean() + 6 * max(pixels.std(), 1.0)
        kept = quiet[quiet <= limit]
        if kept.size == pixels.size:
            break
        pixels = kept
    return float(pixels.mean()), float(pixels.std())


def _one_photon(events: Array, read_noise: float, power: int) -> tuple[float, float]:
    """Return the charge (to the `power`) most events hold, as position and error of that peak."""
    from scipy.ndimage import gaussian_filter1d

    # The 3 × 3 sum has three times the read noise of a pixel: nothing finer can be resolved.
    width = max(2 * read_noise, float(np.median(events)) / 50)
    # Cosmic rays hold most charge of all; four times the median is beyond one photon in any case seen.
    bins = np.arange(0.0, 4 * float(np.median(events)) + 4 * width, width)
    histogram, _ = np.histogram(events, bins, weights=events**power)
    mode = bins[int(np.argmax(gaussian_filter1d(histogram, 1.5)))] + width / 2
    center = mode
    for _ in range(30):
        peak = events[np.abs(events - center) < 0.25 * center]
        if abs(peak.mean() - center) < 1e-4 * center:
            break
        center = float(peak.mean())
    # The peak is skewed by charge that was lost and by double hits: mode and mean differ by that much.
    return center, float(np.hypot(peak.std() / np.sqrt(peak.size), center - mode))


# Frames of many photons: the other way to the same record.
__getattr__, __dir__ = attach(__name__, {"photon_transfer": "calibration.photon_transfer:photon_transfer"})
